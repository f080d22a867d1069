//! How the pods of a mirror run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration, TopologySpreadConstraint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the pods of the cache, with the names and meanings they have in a PodSpec.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySettings {
    /// How many members share the mirror, each a pod with storage of its own. Every image part has one home among them, so
    /// their space adds up, and one that is away costs its share alone until it is back. They restart one at a time. With
    /// `storage.type: Volume` the claims of members that are taken away are kept or deleted by `volume.retention`.
    /// Default: `1`. Example: `3`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub replicas: i32,
    /// CPU and memory of the proxy. Default: requests of 100m CPU and 64Mi memory, a limit of 512Mi memory.
    /// Example: `{requests: {cpu: "1"}, limits: {memory: 1Gi}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels a node must have to run the pods. Default: none. Example: `{disk: fast}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes the pods tolerate. Default: none. Example: `[{key: dedicated, operator: Exists}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// How the pods are spread over the cluster; what names no `labelSelector` counts the mirror's pods. Default: on
    /// different nodes where that can be.
    /// Example: `[{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The PriorityClass of the pods. Default: the cluster's default. Example: `system-cluster-critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// A ServiceAccount of yours in the operator's namespace. Default: one is made for the mirror; it has no rights.
    /// Example: `cache-identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Annotations of the pods. Default: none. Example: `{prometheus.io/scrape: "true"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub pod_annotations: BTreeMap<String, String>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            replicas: one(),
            resources: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            topology_spread_constraints: Vec::new(),
            priority_class_name: None,
            service_account_name: None,
            pod_annotations: BTreeMap::new(),
        }
    }
}

fn one() -> i32 {
    1
}
