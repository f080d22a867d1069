//! How clients outside the cluster reach a mirror.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{references::name_schema, rule};

/// The Ingress by which clients outside the cluster reach the mirror. What they may pull there is said by `access`.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// The host name under which clients pull, or, with routing `HostPerUpstream`, its domain. Make DNS lead it to the
    /// Ingress controller. Example: `mirror.example.com`.
    #[schemars(
        length(min = 1, max = 253),
        extend("x-kubernetes-validations" = [rule(
            r"self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$') && self.matches('[a-z]')",
            "host is no DNS name: use lower-case letters, digits, '-' and '.', such as mirror.example.com",
        )])
    )]
    pub host: String,
    /// The IngressClass. Default: the cluster's default IngressClass. Example: `nginx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "name_schema")]
    pub class_name: Option<String>,
    /// Annotations of the Ingress, for its controller. Default: none.
    /// Example: `{nginx.ingress.kubernetes.io/proxy-read-timeout: "900"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// The Secret with the certificate of the host, type `kubernetes.io/tls`; it may come later, as cert-manager makes
    /// it. With routing `HostPerUpstream` the certificate is for `*.<host>`. Default: no TLS, which clients take for an
    /// insecure registry. Example: `mirror-tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "name_schema")]
    pub tls_secret_name: Option<String>,
    /// How a client names the registry: `Path`, as `<host>/ghcr.io/team/app`; `HostPerUpstream`, as
    /// `ghcr-io.<host>/team/app`, where each `.`, `:` and `_` of the registry has become `-`. Default: `Path`.
    /// Example: `HostPerUpstream`.
    #[serde(default)]
    pub routing: Routing,
}

/// How a client outside the cluster names the registry it means.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routing {
    /// In the path: `<host>/ghcr.io/team/app`.
    #[default]
    Path,
    /// By a host name of its own: `ghcr-io.<host>/team/app`.
    HostPerUpstream,
}
