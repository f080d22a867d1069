//! What it cost upstream.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tidepool_oci::RegistryName;

use super::{Class, LoginResult, Metrics, Name, Of, UpstreamResult};
use crate::upstream::UpstreamGauges;

/// Seconds to the headers of an upstream's answer: from one near by to the deadlines of P1.
const ANSWER_SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: Name,
    class: Class,
    result: UpstreamResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    upstream: Name,
    result: LoginResult,
}

/// What upstreams were asked, and gave.
#[derive(Clone, Debug)]
pub(super) struct Upstreams {
    requests: Family<UpstreamLabels, Counter>,
    seconds: Family<Of, Histogram, fn() -> Histogram>,
    bytes: Family<Of, Counter>,
    logins: Family<LoginLabels, Counter>,
    health: UpstreamGauges,
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(ANSWER_SECONDS)),
            bytes: Family::default(),
            logins: Family::default(),
            health: UpstreamGauges::default(),
        }
    }
}

impl Upstreams {
    pub(super) fn register(&self, tidepool: &mut Registry) {
        tidepool.register("upstream_requests", "Requests to upstreams", self.requests.clone());
        let help = "Time from a request to an upstream to the headers of its answer, token and redirects included";
        tidepool.register_with_unit("upstream_response", help, Unit::Seconds, self.seconds.clone());
        let help = "Bytes of manifests and blobs received from upstreams";
        tidepool.register_with_unit("upstream", help, Unit::Bytes, self.bytes.clone());
        tidepool.register("upstream_logins", "Logins at upstreams with credentials", self.logins.clone());
        self.health.register(tidepool);
    }
}

impl Metrics {
    /// Notes how a request to an upstream ended, and after what time.
    pub(crate) fn upstream_request(
        &self,
        upstream: &RegistryName,
        class: Class,
        result: UpstreamResult,
        after: Duration,
    ) {
        let labels = UpstreamLabels { upstream: Name(Some(upstream.clone())), class, result };
        self.upstreams.requests.get_or_create(&labels).inc();
        self.upstreams.seconds.get_or_create(&Of::upstream(upstream)).observe(after.as_secs_f64());
    }

    pub(crate) fn upstream_bytes(&self, upstream: &RegistryName, bytes: usize) {
        let counter = self.upstreams.bytes.get_or_create(&Of::upstream(upstream));
        counter.inc_by(u64::try_from(bytes).unwrap_or_default());
    }

    /// The gauges of upstreams' health, for the upstreams to set.
    pub(crate) fn upstream_health(&self) -> &UpstreamGauges {
        &self.upstreams.health
    }

    pub(crate) fn login(&self, upstream: &RegistryName, result: LoginResult) {
        self.upstreams.logins.get_or_create(&LoginLabels { upstream: Name(Some(upstream.clone())), result }).inc();
    }
}
