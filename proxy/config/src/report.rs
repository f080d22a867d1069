//! What people read at `/state` besides what the operator does. It changes all the time, so it is none of the operator's.

use serde::{Deserialize, Serialize};
use tidepool_oci::RegistryName;

use crate::ProxyState;

/// Everything that a proxy says at `/state`, of bounded size and without a secret or a repository's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReport {
    /// What the operator reads.
    #[serde(flatten)]
    pub state: ProxyState,
    /// The program's version.
    pub version: String,
    /// Seconds since it began.
    pub uptime_seconds: u64,
    /// What is kept.
    pub store: StoreReport,
    /// How busy each listener is.
    pub listeners: Vec<ListenerReport>,
    /// How many blobs are being filled.
    pub fills_in_flight: usize,
    /// Those that are furthest from their end, no more than a few dozen.
    pub fills: Vec<FillReport>,
}

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreReport {
    /// Bytes of manifests and blobs.
    pub bytes: u64,
    /// How many there may be; none where the disk is the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Blobs found damaged since it began.
    pub damaged: u64,
}

/// How busy a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerReport {
    /// `clients` or `agents`.
    pub name: String,
    /// Connections in use.
    pub connections: u64,
    /// Requests whose answer is not at its end.
    pub requests_in_flight: u64,
}

/// A blob on its way from an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FillReport {
    /// Of which content.
    pub digest: String,
    /// From which registry.
    pub registry: RegistryName,
    /// Bytes it will have, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes that are here.
    pub present: u64,
    /// Connections to the upstream.
    pub connections: usize,
    /// Clients that read it.
    pub readers: usize,
}
