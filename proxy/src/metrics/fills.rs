//! How blobs came in.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tidepool_oci::RegistryName;

use super::{FillResult, Metrics, Name, Of};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FillLabels {
    upstream: Name,
    result: FillResult,
}

/// How blobs came in.
#[derive(Clone, Debug, Default)]
pub(super) struct Fills {
    in_flight: Gauge,
    ended: Family<FillLabels, Counter>,
    resumed: Family<Of, Counter>,
}

impl Fills {
    pub(super) fn register(&self, tidepool: &mut Registry) {
        tidepool.register("fills_in_flight", "Blobs being filled from upstreams", self.in_flight.clone());
        tidepool.register("fills", "Fills that ended", self.ended.clone());
        let help = "Connections that took up a fill where another had broken";
        tidepool.register("fill_resumes", help, self.resumed.clone());
    }
}

impl Metrics {
    /// Counts a fill: in flight for as long as the guard lives, then by its end.
    pub(crate) fn fill(&self, upstream: &RegistryName) -> FillGuard {
        self.fills.in_flight.inc();
        FillGuard { fills: self.fills.clone(), upstream: upstream.clone(), result: FillResult::Stopped }
    }

    /// Notes that a fill goes on after its connection broke.
    pub(crate) fn fill_resumed(&self, upstream: &RegistryName) {
        self.fills.resumed.get_or_create(&Of::upstream(upstream)).inc();
    }
}

/// A fill in flight.
#[derive(Debug)]
pub(crate) struct FillGuard {
    fills: Fills,
    upstream: RegistryName,
    result: FillResult,
}

impl FillGuard {
    /// Says how it ended; one that does not was stopped.
    pub(crate) fn ended(mut self, result: FillResult) {
        self.result = result;
    }
}

impl Drop for FillGuard {
    fn drop(&mut self) {
        self.fills.in_flight.dec();
        let labels = FillLabels { upstream: Name(Some(self.upstream.clone())), result: self.result };
        self.fills.ended.get_or_create(&labels).inc();
    }
}
