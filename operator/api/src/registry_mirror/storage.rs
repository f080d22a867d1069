//! Where a mirror keeps images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;
use crate::rule::rule_at;

/// Where images are kept; each member (`proxy.replicas`) has so much of its own. To change the type of a mirror, make a second mirror and delete the first.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.type == 'Volume' || !has(self.volume)", "storage.volume is for type Volume: set type to Volume, or remove volume"),
    rule("self.type == 'Ephemeral' || !has(self.ephemeral)", "storage.ephemeral is for type Ephemeral: set type to Ephemeral, or remove ephemeral"),
    rule_at(".type", "self.type == oldSelf.type", "storage.type cannot change: make a second mirror with the new type, then delete this one"),
    rule_at(
        ".volume.size",
        "self.type != 'Volume' || oldSelf.type != 'Volume' || !quantity(has(self.volume) ? self.volume.size : '50Gi').isLessThan(quantity(has(oldSelf.volume) ? oldSelf.volume.size : '50Gi'))",
        "storage.volume.size cannot shrink: keep the size, or make a second mirror",
    ),
    rule_at(
        ".volume.storageClassName",
        "(has(self.volume) && has(self.volume.storageClassName) ? self.volume.storageClassName : '') == (has(oldSelf.volume) && has(oldSelf.volume.storageClassName) ? oldSelf.volume.storageClassName : '')",
        "storage.volume.storageClassName cannot change, nor be added or removed later: make a second mirror",
    ),
]))]
pub struct Storage {
    /// `Volume`: a claim for each member that outlives pods and nodes. `Ephemeral`: the disk of the node the pod is on, gone with the
    /// pod. Cannot change. Default: `Volume`. Example: `Ephemeral`.
    #[serde(rename = "type", default)]
    pub storage_type: StorageType,
    /// Settings of type `Volume`. Default: 50Gi of the default StorageClass. Example: `{size: 200Gi}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeStorage>,
    /// Settings of type `Ephemeral`. Default: at most 20Gi. Example: `{sizeLimit: 40Gi}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<EphemeralStorage>,
}

/// The kinds of storage.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageType {
    /// A PersistentVolumeClaim.
    #[default]
    Volume,
    /// An emptyDir on the pod's node.
    Ephemeral,
}

/// A claim for a volume.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStorage {
    /// Size of each member's volume, in bytes with a unit (`Mi`, `Gi`, `Ti`, `M`, `G`, `T`); nine tenths of it hold images. Can
    /// grow where the StorageClass allows it, and cannot shrink. Default: `50Gi`. Example: `200Gi`.
    #[serde(default = "default_volume_size")]
    #[schemars(schema_with = "size_schema", extend("default" = "50Gi"))]
    pub size: String,
    /// The StorageClass of the claims. Default: the cluster's default StorageClass. Cannot change.
    /// Example: `fast-ssd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What happens to a claim when the mirror is deleted, or its member by fewer `proxy.replicas`: `Retain` keeps it,
    /// and a new mirror of the same name, or more replicas, take it over with what it holds; `Delete` deletes it.
    /// Default: `Retain`. Example: `Delete`.
    #[serde(default)]
    pub retention: Retention,
}

/// The disk of the pod's node.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EphemeralStorage {
    /// The most that each member keeps, in bytes with a unit (`Mi`, `Gi`, `Ti`, `M`, `G`, `T`); nine tenths of it hold images. A
    /// pod that uses more is evicted by the kubelet. Default: `20Gi`. Example: `40Gi`.
    #[serde(default = "default_size_limit")]
    #[schemars(schema_with = "size_schema", extend("default" = "20Gi"))]
    pub size_limit: String,
}

/// What happens to a claim when its mirror or its member is no more.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retention {
    /// It stays.
    #[default]
    Retain,
    /// It goes too.
    Delete,
}

impl Default for VolumeStorage {
    fn default() -> Self {
        Self { size: default_volume_size(), storage_class_name: None, retention: Retention::default() }
    }
}

impl Default for EphemeralStorage {
    fn default() -> Self {
        Self { size_limit: default_size_limit() }
    }
}

fn default_volume_size() -> String {
    "50Gi".to_owned()
}

fn default_size_limit() -> String {
    "20Gi".to_owned()
}

/// A size as text. Kubernetes' own quantities are number or text, which rules cannot compare.
fn size_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "minLength": 2,
        "maxLength": 16,
        "x-kubernetes-validations": [rule(
            "self.matches('^[1-9][0-9]{0,9}(Mi|Gi|Ti|M|G|T)$')",
            "a size is a whole number with a unit Mi, Gi, Ti, M, G or T: use a value such as 50Gi",
        )],
    })
}
