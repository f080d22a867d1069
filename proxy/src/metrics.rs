//! What the proxy counts. Labels are closed enums and the configured upstreams' names: no client can add a series.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tidepool_oci::RegistryName;

use crate::{
    store::Meters,
    upstream::{UpstreamError, UpstreamGauges},
};

/// Makes an enum whose values are a label's: the number of series is fixed at compile time.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$what])* $value,)* }

        impl $name {
            /// The value as metrics and logs show it.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    };
}

label! {
    /// What a request is about.
    Class {
        Manifest = "manifest",
        Blob = "blob",
        Tags = "tags",
        Referrers = "referrers",
        /// `/v2/` itself, and what is no request of the API.
        Other = "other",
    }
}

label! {
    /// How a client's request ended.
    RequestResult {
        /// From the store; a tag was confirmed by the upstream.
        Hit = "hit",
        /// By a transfer that this request started.
        Fill = "fill",
        /// By a transfer that another request had started.
        Joined = "joined",
        /// From the store, for the upstream did not confirm it.
        Stale = "stale",
        /// Asked of the upstream and not kept.
        Passed = "passed",
        /// The upstream has no such thing.
        Absent = "absent",
        /// Not ours to serve, or malformed.
        Refused = "refused",
        /// It could not be had.
        Failed = "failed",
    }
}

label! {
    /// How a request to an upstream ended.
    UpstreamResult {
        Ok = "ok",
        Absent = "absent",
        Limited = "limited",
        Failed = "failed",
        Unreachable = "unreachable",
    }
}

label! {
    /// How the handshake of a connection to the agents' listener ended.
    HandshakeResult {
        Ok = "ok",
        /// No certificate, or not that of an agent of this mirror.
        Refused = "refused",
        /// The peer turned down our certificate.
        Distrusted = "distrusted",
        /// No TLS 1.3.
        Malformed = "malformed",
        Late = "late",
        /// The peer left.
        Cut = "cut",
    }
}

label! {
    /// How a login at an upstream ended.
    LoginResult {
        Accepted = "accepted",
        Refused = "refused",
        Failed = "failed",
    }
}

label! {
    /// How bytes of stored blobs reached the socket.
    SentPath {
        Sendfile = "sendfile",
        Copy = "copy",
    }
}

impl UpstreamResult {
    pub(crate) fn of(error: Option<&UpstreamError>) -> Self {
        match error {
            None => Self::Ok,
            Some(UpstreamError::Gone(_) | UpstreamError::Refused(_)) => Self::Absent,
            Some(UpstreamError::Limited { .. }) => Self::Limited,
            Some(
                UpstreamError::Failing(_)
                | UpstreamError::ElsewhereFailing(_)
                | UpstreamError::CredentialsRefused
                | UpstreamError::Crowded
                | UpstreamError::Redirect(_)
                | UpstreamError::Garbage(_)
                | UpstreamError::Cut(_)
                | UpstreamError::Stopped,
            ) => Self::Failed,
            Some(
                UpstreamError::Resting
                | UpstreamError::Unreachable(_)
                | UpstreamError::Elsewhere(_)
                | UpstreamError::ElsewhereResting
                | UpstreamError::Realm(_)
                | UpstreamError::Silent(_),
            ) => Self::Unreachable,
        }
    }
}

/// A configured upstream's name, or empty where a request means none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name(Option<RegistryName>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_ref().map_or("", RegistryName::as_str).encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    upstream: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    upstream: Name,
    class: Class,
    result: RequestResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: Name,
    class: Class,
    result: UpstreamResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    result: HandshakeResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    upstream: Name,
    result: LoginResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SentLabels {
    path: SentPath,
}

label! {
    /// How reading a changed configuration ended.
    ReloadResult {
        Ok = "ok",
        Failed = "failed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: ReloadResult,
}

/// The counters of one proxy. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    served_bytes: Family<Of, Counter>,
    upstream_requests: Family<UpstreamLabels, Counter>,
    upstream_bytes: Family<Of, Counter>,
    upstream_logins: Family<LoginLabels, Counter>,
    upstream_health: UpstreamGauges,
    config_in_use: Gauge,
    config_reloads: Family<ReloadLabels, Counter>,
    fills_in_flight: Gauge,
    store_bytes: Gauge<u64, AtomicU64>,
    store_damaged: Counter,
    agent_handshakes: Family<HandshakeLabels, Counter>,
    password_checks: Counter,
    sent_bytes: Family<SentLabels, Counter>,
}

impl Metrics {
    /// Makes the counters visible under their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let tidepool = registry.sub_registry_with_prefix("tidepool");
        tidepool.register("requests", "Requests of clients", self.requests.clone());
        let help = "Bytes of manifests and blobs sent to clients";
        tidepool.register_with_unit("served", help, Unit::Bytes, self.served_bytes.clone());
        tidepool.register("upstream_requests", "Requests to upstreams", self.upstream_requests.clone());
        let help = "Bytes of manifests and blobs received from upstreams";
        tidepool.register_with_unit("upstream", help, Unit::Bytes, self.upstream_bytes.clone());
        tidepool.register("upstream_logins", "Logins at upstreams with credentials", self.upstream_logins.clone());
        self.upstream_health.register(tidepool);
        let help = "Whether the configuration on disk is the one in use";
        tidepool.register("config_reload_successful", help, self.config_in_use.clone());
        tidepool.register("config_reloads", "Readings of a changed configuration", self.config_reloads.clone());
        tidepool.register("fills_in_flight", "Blobs being filled from upstreams", self.fills_in_flight.clone());
        let help = "Bytes of manifests and blobs kept";
        tidepool.register_with_unit("store", help, Unit::Bytes, self.store_bytes.clone());
        let help = "Stored blobs that were found damaged, and removed to be filled again";
        tidepool.register("store_damaged", help, self.store_damaged.clone());
        let help = "Handshakes at the agents' listener";
        tidepool.register("agent_handshakes", help, self.agent_handshakes.clone());
        let help = "Passwords of clients that were hashed and compared; logins that are remembered need none";
        tidepool.register("password_checks", help, self.password_checks.clone());
        let help = "Bytes of blobs' files sent to clients, by how they left";
        tidepool.register_with_unit("sent", help, Unit::Bytes, self.sent_bytes.clone());
    }

    pub(crate) fn request(&self, upstream: Option<&RegistryName>, class: Class, result: RequestResult) {
        let labels = RequestLabels { upstream: Name(upstream.cloned()), class, result };
        self.requests.get_or_create(&labels).inc();
    }

    /// The counter of bytes served from one upstream's content, for a body to keep.
    pub(crate) fn served(&self, upstream: &RegistryName) -> Counter {
        self.served_bytes.get_or_create(&Of { upstream: Name(Some(upstream.clone())) }).clone()
    }

    /// The counter of bytes of files that left in that way, for a body to keep.
    pub(crate) fn sent(&self, path: SentPath) -> Counter {
        self.sent_bytes.get_or_create(&SentLabels { path }).clone()
    }

    pub(crate) fn upstream_request(&self, upstream: &RegistryName, class: Class, result: UpstreamResult) {
        let labels = UpstreamLabels { upstream: Name(Some(upstream.clone())), class, result };
        self.upstream_requests.get_or_create(&labels).inc();
    }

    pub(crate) fn upstream_bytes(&self, upstream: &RegistryName, bytes: usize) {
        let counter = self.upstream_bytes.get_or_create(&Of { upstream: Name(Some(upstream.clone())) });
        counter.inc_by(u64::try_from(bytes).unwrap_or_default());
    }

    /// The gauges of upstreams' health, for the upstreams to set.
    pub(crate) fn upstream_health(&self) -> &UpstreamGauges {
        &self.upstream_health
    }

    pub(crate) fn agent_handshake(&self, result: HandshakeResult) {
        self.agent_handshakes.get_or_create(&HandshakeLabels { result }).inc();
    }

    pub(crate) fn password_check(&self) {
        self.password_checks.inc();
    }

    #[cfg(test)]
    pub(crate) fn password_checks(&self) -> u64 {
        self.password_checks.get()
    }

    pub(crate) fn login(&self, upstream: &RegistryName, result: LoginResult) {
        self.upstream_logins.get_or_create(&LoginLabels { upstream: Name(Some(upstream.clone())), result }).inc();
    }

    /// Says whether the configuration on disk is in use.
    pub(crate) fn config_in_use(&self, in_use: bool) {
        self.config_in_use.set(in_use.into());
    }

    pub(crate) fn config_reload(&self, result: ReloadResult) {
        self.config_reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// What the store counts.
    pub(crate) fn store(&self) -> Meters {
        Meters { bytes: self.store_bytes.clone(), damaged: self.store_damaged.clone() }
    }

    /// Counts a fill for as long as the guard lives.
    pub(crate) fn fill(&self) -> FillGuard {
        self.fills_in_flight.inc();
        FillGuard(self.fills_in_flight.clone())
    }
}

/// A fill in flight.
#[derive(Debug)]
pub(crate) struct FillGuard(Gauge);

impl Drop for FillGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
