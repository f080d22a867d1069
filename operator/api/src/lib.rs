//! The custom resources of Tidepool, as a user writes them.
//!
//! - [`RegistryMirror`]: the registries that nodes pull through a cache, and the cache itself.
//! - [`MirrorNode`]: what one node does with the mirrors; written by the agent on that node.
//! - [`crds`]: the definitions of both as files, for `kubectl` and for the chart.
//!
//! What a spec may say is written here: as bounds and rules on the types, which the API server checks. What needs other
//! objects is checked by the operator (crate `tidepool-plan`).

#![expect(clippy::duplicated_attributes, reason = "every printcolumn has a name and a type of its own")]

pub mod crds;
mod mirror_node;
mod registry_mirror;
mod rule;

pub use mirror_node::{
    MirrorNode, MirrorNodeSpec, MirrorNodeStatus, MirrorState, NodeMirror, Runtime, RuntimeConfiguration,
    condition as mirror_node_condition, honored, ready,
};
pub use registry_mirror::{
    Access, Address, AnonymousPull, CaKind, CaRef, CredentialScope, Credentials, EgressProxy, EphemeralStorage,
    Ingress, LabelOperator, LabelRequirement, Members, NodeLabels, NodeMode, NodeSettings, NodesStatus, ProxySettings,
    RegistryMirror, RegistryMirrorSpec, RegistryMirrorStatus, Retention, Routing, SecretRef, Storage, StorageType,
    Tags, Upstream, UpstreamGone, UpstreamStatus, UpstreamTls, VolumeStorage, condition,
};
