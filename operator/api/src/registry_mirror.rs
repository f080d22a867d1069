//! `RegistryMirror`: the registries that nodes pull through a cache, and the cache itself.

mod access;
mod egress;
mod ingress;
mod nodes;
mod proxy;
mod references;
mod status;
mod storage;
mod tags;
mod upstream;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::rule;

pub use access::{Access, AnonymousPull};
pub use egress::EgressProxy;
pub use ingress::{Ingress, Routing};
pub use nodes::{LabelOperator, LabelRequirement, NodeLabels, NodeMode, NodeSettings};
pub use proxy::ProxySettings;
pub use references::{CaKind, CaRef, SecretRef};
pub use status::{Address, Members, NodesStatus, RegistryMirrorStatus, UpstreamStatus, condition};
pub use storage::{EphemeralStorage, Retention, Storage, StorageType, VolumeStorage};
pub use tags::{Tags, UpstreamGone};
pub use upstream::{CredentialScope, Credentials, Upstream, UpstreamTls};

/// What is mirrored, where it is kept and which nodes use it. Only `upstreams` is needed:
/// `spec: {upstreams: [{registry: docker.io}]}` gives a cache of 50Gi that every node pulls through.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tidepool.dev",
    version = "v1alpha1",
    kind = "RegistryMirror",
    plural = "registrymirrors",
    shortname = "rmir",
    category = "tidepool",
    status = "RegistryMirrorStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A cache of container registries inside the cluster, and the way nodes pull through it. Pods stay as they are: nodes find the images they name in the cache, and go to the registry itself whenever the cache cannot help.",
    validation = kube::core::Rule::new(
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    ).message("metadata.name makes names of Services: use at most 40 lower-case letters, digits and '-', starting with a letter"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Upstreams", type_ = "string", json_path = ".status.registries"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.ingress) || self.ingress.routing != 'HostPerUpstream' || self.upstreams.all(upstream, !upstream.registry.startsWith('[') && upstream.registry.size() <= 63 && upstream.registry.size() + self.ingress.host.size() < 253)",
    "ingress.routing HostPerUpstream makes a host name of each registry, and one makes none (an IPv6 address, more than 63 characters, or more than 253 with ingress.host): use routing Path, or a shorter ingress.host",
)]))]
pub struct RegistryMirrorSpec {
    /// The registries that are mirrored, at least one, each once. Pulls from any other registry are not touched.
    /// Example: `[{registry: docker.io}, {registry: ghcr.io}]`.
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["registry"])
    )]
    pub upstreams: Vec<Upstream>,
    /// The proxy through which the registries are reached. Default: none; the cache goes to them itself.
    /// Example: `{url: "http://proxy.corp:3128", noProxy: [".corp"]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_proxy: Option<EgressProxy>,
    /// Where images are kept. Default: a volume of 50Gi of the default StorageClass.
    /// Example: `{type: Ephemeral}` where there is no StorageClass.
    #[serde(default)]
    pub storage: Storage,
    /// How the pods of the cache run. Default: anywhere, with modest requests.
    /// Example: `{nodeSelector: {disk: fast}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySettings>,
    /// Who may pull at the port for clients. Default: everybody, what the registries let everybody read.
    /// Example: `{anonymousPull: None, usersSecretRef: {name: mirror-users}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// How clients outside the cluster reach the mirror. Default: not at all.
    /// Example: `{host: mirror.example.com, tlsSecretName: mirror-tls}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// Which nodes pull through the mirror. Default: all.
    /// Example: `{selector: {matchLabels: {pool: ci}}}`.
    #[serde(default)]
    pub nodes: NodeSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without it a `null` would be written, which server-side apply and `has()` in rules take for a value.
    #[test]
    fn what_is_not_set_is_not_written() {
        let minimal: RegistryMirrorSpec = serde_yaml::from_str("upstreams: [{registry: docker.io}]").unwrap();
        let mut all = minimal.clone();
        all.proxy = Some(ProxySettings::default());
        all.upstreams[0].tls = Some(UpstreamTls::default());
        all.upstreams[0].credentials = Some(Credentials::default());
        all.egress_proxy = Some(EgressProxy::default());
        all.access = Some(Access::default());
        all.ingress = Some(Ingress::default());
        all.nodes.selector = Some(NodeLabels::default());
        all.storage.volume = Some(VolumeStorage::default());
        for spec in [minimal, all] {
            let text = serde_json::to_string(&RegistryMirror::new("public", spec)).unwrap();
            assert!(!text.contains("null"), "{text}");
        }
    }

    #[test]
    fn five_lines_are_enough() {
        let spec: RegistryMirrorSpec = serde_yaml::from_str("upstreams: [{registry: docker.io}]").unwrap();
        assert_eq!(spec.storage.storage_type, StorageType::Volume);
        assert_eq!(spec.nodes.mode, NodeMode::Configure);
    }
}
