//! What is looked up when somebody scrapes: it is kept elsewhere already.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::Admin;

/// Gauges of the store and of upstreams.
#[derive(Debug)]
pub(crate) struct Gauges(pub(crate) Admin);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(limit) = self.0.store.limit() {
            let help = "Bytes that may be kept; without a limit there is no such series";
            let gauge = ConstGauge::new(i64::try_from(limit).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor("tidepool_store_limit_bytes", help, None, MetricType::Gauge)?)?;
        }
        let help = "Whether an upstream is left alone, for it could not be reached or stayed silent";
        let name = "tidepool_upstream_breaker_open";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, upstream) in &self.0.settings.load().upstreams {
            let gauge = ConstGauge::new(i64::from(upstream.state().health.open_until.is_some()));
            gauge.encode(family.encode_family(&[("upstream", name.as_str())])?)?;
        }
        Ok(())
    }
}
