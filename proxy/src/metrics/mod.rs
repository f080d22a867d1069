//! What the proxy counts. Labels are closed enums and the configured upstreams' names: no client can add a series.
//!
//! [`serving`] is what clients got, [`upstreams`] what it cost, [`fills`] how blobs came in, [`labels`] the labels' values.

mod fills;
mod labels;
mod serving;
mod upstreams;

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tidepool_oci::RegistryName;

pub(crate) use labels::{
    Class, CutBy, FillResult, HandshakeResult, Listener, LoginResult, ReloadResult, RequestResult, SentPath,
    ShedReason, UpstreamResult,
};
pub(crate) use serving::Held;

use crate::store::Meters;

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

impl Of {
    fn upstream(name: &RegistryName) -> Self {
        Self { upstream: Name(Some(name.clone())) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    result: HandshakeResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: ReloadResult,
}

/// The counters of one proxy. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    serving: serving::Serving,
    upstreams: upstreams::Upstreams,
    fills: fills::Fills,
    config_in_use: Gauge,
    config_reloads: Family<ReloadLabels, Counter>,
    store_bytes: Gauge<u64, AtomicU64>,
    store_damaged: Counter,
    agent_handshakes: Family<HandshakeLabels, Counter>,
    password_checks: Counter,
}

impl Metrics {
    /// Makes the counters visible under their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let tidepool = registry.sub_registry_with_prefix("tidepool");
        self.serving.register(tidepool);
        self.upstreams.register(tidepool);
        self.fills.register(tidepool);
        let help = "Whether the configuration on disk is the one in use";
        tidepool.register("config_reload_successful", help, self.config_in_use.clone());
        tidepool.register("config_reloads", "Readings of a changed configuration", self.config_reloads.clone());
        let help = "Bytes of manifests and blobs kept";
        tidepool.register_with_unit("store", help, Unit::Bytes, self.store_bytes.clone());
        let help = "Stored blobs that were found damaged, and removed to be filled again";
        tidepool.register("store_damaged", help, self.store_damaged.clone());
        let help = "Handshakes at the agents' listener";
        tidepool.register("agent_handshakes", help, self.agent_handshakes.clone());
        let help = "Passwords of clients that were hashed and compared; logins that are remembered need none";
        tidepool.register("password_checks", help, self.password_checks.clone());
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
}
