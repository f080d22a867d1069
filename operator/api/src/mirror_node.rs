//! `MirrorNode`: one object a node, saying what the node does with the mirrors and, if it does not use one, why.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition types of a [`MirrorNode`].
pub mod condition {
    /// The agent has done on this node what the mirrors ask for.
    pub const READY: &str = "Ready";
    /// The node's runtime honours the files: a pull of it was seen. Unknown until then.
    pub const HONORED: &str = "Honored";
}

/// What one node does with the mirrors. The name is the node's; the operator makes it, the agent on the node reports in
/// its status, and it goes with the node. It has no spec: nobody writes it by hand.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tidepool.dev",
    version = "v1alpha1",
    kind = "MirrorNode",
    plural = "mirrornodes",
    shortname = "mnode",
    category = "tidepool",
    status = "MirrorNodeStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Honored", type_ = "string", json_path = ".status.conditions[?(@.type==\"Honored\")].status"),
    printcolumn(name = "Runtime", type_ = "string", json_path = ".status.runtime.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.runtime.version"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MirrorNodeSpec {}

/// What the agent on the node last reported.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorNodeStatus {
    /// The node's container runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// What is so on this node: `Ready`, `Honored`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The mirrors this node is selected for, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub mirrors: Vec<NodeMirror>,
}

/// A container runtime, as the kubelet reports it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// Its name, such as `containerd`.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its version, such as `2.4.2`.
    #[schemars(length(max = 63))]
    pub version: String,
}

/// One mirror on this node.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeMirror {
    /// Name of the RegistryMirror.
    #[schemars(length(max = 40))]
    pub name: String,
    /// Its uid, which tells it from an earlier mirror of the same name.
    #[schemars(length(max = 63))]
    pub uid: String,
    /// What the node does with it.
    pub state: MirrorState,
    /// Why, in one CamelCase word.
    #[schemars(length(max = 63))]
    pub reason: String,
    /// What is wrong and what to do, for people; empty when nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What a node does with one mirror.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MirrorState {
    /// Not yet: no member has been reached from this node, or files wait to be written.
    Pending,
    /// Files are in place and a member answers.
    Active,
    /// Files are in place and no member answers: pulls go upstream.
    Bypassing,
    /// Another mirror serves all of its registries on this node.
    Shadowed,
    /// Nothing of it is on this node.
    Withdrawn,
    /// The node's runtime or file system does not allow it; the message says what to do.
    Unsupported,
}
