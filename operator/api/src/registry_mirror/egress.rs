//! The proxy through which registries are reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, rule};

/// The proxy through which the cache reaches registries, where it cannot reach them itself.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressProxy {
    /// The proxy's address, without user and path. Example: `http://proxy.corp:3128`.
    #[schemars(
        length(min = 1, max = 1024),
        extend("x-kubernetes-validations" = [
            rule(
                "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != '' && url(self).getEscapedPath() in ['', '/']",
                "url is no address of a proxy: use http:// or https://, a host and a port, such as http://proxy.corp:3128",
            ),
            rule(
                "!self.contains('@') && !self.contains('?') && !self.contains('#')",
                "url may have no user, query or fragment: leave '@', '?' and '#' out, and name the user in credentialsSecretRef",
            ),
        ])
    )]
    pub url: String,
    /// What is reached without the proxy: hosts (with all names below them), `.domains`, addresses and networks.
    /// Default: nothing. Example: `[".corp", "10.0.0.0/8", "registry.internal"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._:/\[\]-]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub no_proxy: Vec<String>,
    /// The Secret with the proxy's user: type `kubernetes.io/basic-auth`, or any with keys `username` and `password`.
    /// Default: the proxy asks for none. Example: `{name: proxy-login}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}
