//! The chart suite: what Helm makes of the chart, and what a real API server says to it.
//!
//! All tests share one cluster, of which they need the API server alone; no image is needed and nothing of Tidepool
//! runs. What an installed chart does is the cluster suite's.

#![cfg(test)]

#[path = "chart/rendered.rs"]
mod rendered;

#[path = "chart/explain.rs"]
mod explain;
#[path = "chart/rights.rs"]
mod rights;
#[path = "chart/shown.rs"]
mod shown;
#[path = "chart/values.rs"]
mod values;
