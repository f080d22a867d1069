//! What is so of a mirror, as the operator last saw it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Condition types of a [`super::RegistryMirror`].
pub mod condition {
    /// The mirror is accepted and its cache answers. Upstreams and nodes have no part in it.
    pub const READY: &str = "Ready";
    /// The spec is valid and all that it names is there.
    pub const ACCEPTED: &str = "Accepted";
    /// At least one member serves; whether all are as the spec says is told by [`RECONCILING`].
    pub const CACHE_AVAILABLE: &str = "CacheAvailable";
    /// The storage is there and as large as the spec says.
    pub const STORAGE_READY: &str = "StorageReady";
    /// The selected nodes do what `spec.nodes.mode` says.
    pub const NODES_CONFIGURED: &str = "NodesConfigured";
    /// The registries take the credentials that the spec names. No part of [`READY`]: what is kept is served without.
    pub const CREDENTIALS_VALID: &str = "CredentialsValid";
    /// The registries answer. No part of [`READY`]: in an outage the cache serves.
    pub const UPSTREAMS_REACHABLE: &str = "UpstreamsReachable";
    /// Present and true while the operator or Kubernetes works towards the spec.
    pub const RECONCILING: &str = "Reconciling";
    /// Present and true when nothing goes on until somebody mends something.
    pub const STALLED: &str = "Stalled";
}

/// What is so of a mirror. Numbers of pulls and bytes are metrics, not status: an idle or busy mirror writes nothing here.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
// A new object must not look ready to tools that take a missing condition for a good one.
#[schemars(extend("default" = json!({"conditions": [{
    "type": condition::READY, "status": "Unknown", "reason": "Pending",
    "message": "the operator has not seen this mirror yet", "lastTransitionTime": "1970-01-01T00:00:00Z",
}]})))]
pub struct RegistryMirrorStatus {
    /// The `metadata.generation` this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so: `Ready`, `Accepted`, `CacheAvailable`, `StorageReady`, `NodesConfigured`, `CredentialsValid`,
    /// `UpstreamsReachable`; and `Reconciling` or `Stalled` while they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where clients reach the mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The pods that serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Members>,
    /// The mirrored registries in one line, such as `docker.io,ghcr.io +2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub registries: Option<String>,
    /// The mirrored registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["registry"]))]
    pub upstreams: Vec<UpstreamStatus>,
    /// The nodes that pull through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesStatus>,
}

/// Addresses of a mirror.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The Service, for clients in the cluster. Example: `mirror-public.tidepool-system.svc:5000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub service: Option<String>,
    /// The Ingress, for clients outside the cluster. Example: `mirror.example.com`, or `*.mirror.example.com` with a
    /// name for each registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub ingress: Option<String>,
}

/// Pods of a mirror.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    /// How many there should be.
    pub desired: i32,
    /// How many answer.
    pub ready: i32,
    /// The tag or digest of the image they run; absent while they differ. Example: `0.1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub version: Option<String>,
    /// The revision of configuration and credentials that all ready members have loaded; absent while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub revision: Option<String>,
    /// Claims of members that are no more, kept with what they hold. More `proxy.replicas` take them over.
    /// Example: `[mirror-public-2]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub kept_claims: Vec<String>,
}

/// One mirrored registry.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamStatus {
    /// Its name.
    #[schemars(length(max = 259))]
    pub registry: String,
    /// Where it is reached.
    #[schemars(length(max = 1024))]
    pub url: String,
    /// The mirror that serves it instead on nodes that both are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub shadowed_by: Option<String>,
}

/// Counts of nodes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodesStatus {
    /// Nodes the mirror is for.
    pub selected: i32,
    /// Of those, nodes that pull through it.
    pub active: i32,
    /// Of those, nodes that reach no member and pull from the registries themselves.
    pub bypassing: i32,
    /// Of those, nodes whose runtime or file system does not allow it; their MirrorNode says why.
    pub unsupported: i32,
    /// `active/selected`, for people.
    #[schemars(length(max = 32))]
    pub summary: String,
}
