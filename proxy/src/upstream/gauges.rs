//! What is exported of upstreams' health: rate limits, and until when one wants to be left alone.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tidepool_config::RateLimit;
use tidepool_oci::RegistryName;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    upstream: String,
}

impl Of {
    fn new(upstream: &RegistryName) -> Self {
        Self { upstream: upstream.to_string() }
    }
}

/// Gauges by upstream. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamGauges {
    limit: Family<Of, Gauge>,
    remaining: Family<Of, Gauge>,
    window: Family<Of, Gauge>,
    retry_after: Family<Of, Gauge>,
}

impl UpstreamGauges {
    /// Makes them visible, under the prefix of `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Pulls that the upstream allows in a window, as it last said";
        registry.register("upstream_rate_limit", help, self.limit.clone());
        let help = "Pulls that are left in the window, as the upstream last said";
        registry.register("upstream_rate_limit_remaining", help, self.remaining.clone());
        let help = "Length of the upstream's window";
        registry.register_with_unit("upstream_rate_limit_window", help, Unit::Seconds, self.window.clone());
        let help = "When the upstream wants to be asked again, Unix time";
        registry.register_with_unit("upstream_retry_after_timestamp", help, Unit::Seconds, self.retry_after.clone());
    }

    pub(super) fn rate_limit(&self, upstream: &RegistryName, heard: &RateLimit) {
        let of = Of::new(upstream);
        for (family, value) in
            [(&self.limit, heard.limit), (&self.remaining, heard.remaining), (&self.window, heard.window_seconds)]
        {
            if let Some(value) = value {
                family.get_or_create(&of).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
    }

    pub(super) fn retry_after(&self, upstream: &RegistryName, at: u64) {
        self.retry_after.get_or_create(&Of::new(upstream)).set(i64::try_from(at).unwrap_or(i64::MAX));
    }
}
