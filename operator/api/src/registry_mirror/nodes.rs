//! Which nodes use a mirror, and what is done on them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;

/// Which nodes pull through the mirror.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSettings {
    /// What is done on the nodes: `Configure` makes them pull through the mirror; `ReportOnly` writes nothing and reports
    /// what would be done; `Withdraw` puts everything back as it was: the switch for emergencies. Default: `Configure`.
    /// Example: `Withdraw`.
    #[serde(default)]
    pub mode: NodeMode,
    /// The nodes it is for, by their labels. Default: all. A node labelled `tidepool.dev/exclude=true` is always left
    /// alone. Example: `{matchLabels: {pool: ci}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NodeLabels>,
    /// Of two mirrors of one registry on one node the one with the higher priority serves it; with one priority the
    /// older does, then the first by name. Default: `0`. Example: `10`.
    #[serde(default)]
    pub priority: i32,
}

/// What a mirror does on its nodes.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeMode {
    /// Nodes pull through the mirror.
    #[default]
    Configure,
    /// Nothing is written on nodes.
    ReportOnly,
    /// What was written on nodes is taken back.
    Withdraw,
}

/// Nodes by their labels, as everywhere in Kubernetes; all conditions must hold.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLabels {
    /// Labels a node must have with these values. Default: none. Example: `{pool: ci}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels. Default: none. Example: `[{key: gpu, operator: DoesNotExist}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One condition on a label.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    "operators In and NotIn need values, Exists and DoesNotExist take none: add or remove values",
)]))]
pub struct LabelRequirement {
    /// The label. Example: `topology.kubernetes.io/zone`.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label relates to `values`: `In`, it is there with one of them; `NotIn`, it is absent or has another;
    /// `Exists`, it is there; `DoesNotExist`, it is absent. Example: `In`.
    pub operator: LabelOperator,
    /// Values for `In` and `NotIn`. Default: none. Example: `[eu-1a, eu-1b]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// The operators of label selectors.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    /// The label is there, with one of the values.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}
