//! `MirrorNode`: one object a node, saying what the node does with the mirrors and, if it does not use one, why.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition types of a [`MirrorNode`].
pub mod condition {
    /// The agent has done on this node what the mirrors ask for.
    pub const READY: &str = "Ready";
    /// The node's runtime pulls through the agent: a pull of it was seen.
    pub const HONORED: &str = "Honored";
}

/// Reasons of [`condition::READY`] that operator and agent must agree on.
pub mod ready {
    /// Unknown, by the operator: no pod of an agent is ready on the node, so that nobody speaks for it.
    pub const AGENT_NOT_READY: &str = "AgentNotReady";
    /// False, by the agent: it was taken from the node for good.
    pub const AGENT_STOPPED: &str = "AgentStopped";
}

/// Reasons of [`condition::HONORED`]: who says it is who knows it.
pub mod honored {
    /// True, by the agent: a pull of a mirrored registry came through it.
    pub const PULL_SEEN: &str = "PullSeen";
    /// True, by the agent: the probe pod's pull did.
    pub const PROBE_SEEN: &str = "ProbeSeen";
    /// False, by the agent: the runtime's configuration does not let it read the files.
    pub const RUNTIME_NOT_CONFIGURED: &str = "RuntimeNotConfigured";
    /// False, by the agent: the runtime has no such files.
    pub const RUNTIME_UNSUPPORTED: &str = "RuntimeUnsupported";
    /// Unknown, by the agent: the system writes these files from a configuration of its own.
    pub const NATIVE_CONFIGURATION: &str = "NativeConfiguration";
    /// Unknown, by the agent: nothing is known yet, or what was known holds no more.
    pub const UNPROVEN: &str = "Unproven";
    /// Unknown, by the operator: a probe pod is on the node.
    pub const PROBING: &str = "Probing";
    /// Unknown, by the operator: the probe pod came to nothing, for reasons of its own.
    pub const PROBE_FAILED: &str = "ProbeFailed";
    /// False, by the operator: the probe pod's pull went past the agent.
    pub const NOT_HONORED: &str = "NotHonored";

    /// Whether it is the operator's to say, and the agent leaves it alone.
    #[must_use]
    pub fn is_the_operators(reason: &str) -> bool {
        [PROBING, PROBE_FAILED, NOT_HONORED].contains(&reason)
    }
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
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.status!=\"True\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.status!=\"True\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MirrorNodeSpec {}

/// What the agent on the node last reported, and what the operator knows of the node.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorNodeStatus {
    /// The node's container runtime, and what its configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// What is so on this node: `Ready` (the files are in place and a mirror answers; `Unknown` where no agent is there
    /// to say so), `Honored` (the runtime pulls through the agent, seen by a pull of its own or of the operator's probe
    /// pod).
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
    /// What its configuration says of the agent's files; the proof is condition `Honored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<RuntimeConfiguration>,
    /// Why it may not read the files and what to change, where that is in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub advice: Option<String>,
}

/// What a runtime's configuration says of the agent's files.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeConfiguration {
    /// That they are read.
    Configured,
    /// That they may not be.
    Doubtful,
    /// That they are not.
    NotConfigured,
    /// The system writes them itself.
    Native,
    /// The runtime has none.
    Unsupported,
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
