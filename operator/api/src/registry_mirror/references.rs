//! Names of Secrets and ConfigMaps in the operator's namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;

/// A Secret of yours in the operator's namespace. Those that the operator made are refused.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret. Example: `hub-login`.
    #[schemars(schema_with = "name_schema")]
    pub name: String,
}

/// Certificates of authorities, in PEM, in an object of the operator's namespace.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// The kind of the object: `ConfigMap`, since such certificates are no secret, or `Secret`, as cert-manager writes
    /// them. Default: `ConfigMap`. Example: `Secret`.
    #[serde(default)]
    pub kind: CaKind,
    /// The name of the object. Example: `corporate-ca`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key whose value is the PEM text. Default: `ca.crt`. Example: `bundle.pem`.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_key() -> String {
    "ca.crt".to_owned()
}

/// What holds certificates of authorities.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CaKind {
    /// A ConfigMap: certificates of authorities are no secret.
    #[default]
    ConfigMap,
    /// A Secret, as cert-manager writes it.
    Secret,
}

/// The name of an object, as Kubernetes has it for most kinds.
pub(super) fn name_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "no object can have this name: use lower-case letters, digits, '-' and '.', such as hub-login",
        )],
    })
}
