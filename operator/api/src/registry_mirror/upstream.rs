//! One mirrored registry: its name, where it is reached, and what may be pulled from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;

/// One registry that is mirrored.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// The registry as image names carry it: a lower-case host, with a port where names carry one. Docker Hub is
    /// `docker.io`. Examples: `docker.io`, `ghcr.io`, `reg.example.com:5000`.
    #[schemars(
        length(min = 1, max = 259),
        extend("x-kubernetes-validations" = [
            rule(
                "!(self in ['index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com', 'hub.docker.com', 'www.docker.io'])",
                "Docker Hub is called docker.io in image names: use docker.io",
            ),
            rule(
                r"self.matches('^(\\[[0-9a-f:.]+\\]|[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)(:[1-9][0-9]{0,4})?$')",
                "a registry is a lower-case host with an optional port and nothing else: use a name such as ghcr.io or reg.example.com:5000",
            ),
        ])
    )]
    pub registry: String,
    /// Where the registry is reached, if not at its usual address. Default: the known address of a public registry,
    /// else `https://<registry>`. Example: `https://registry.internal:8443`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        extend("x-kubernetes-validations" = [
            rule(
                "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",
                "url is no address of a registry: use http:// or https:// and a host, such as https://registry.internal:8443",
            ),
            rule(
                "!self.contains('@') && !self.contains('?') && !self.contains('#')",
                "url may have no user, query or fragment: leave '@', '?', '#' and what belongs to them out",
            ),
        ])
    )]
    pub url: Option<String>,
    /// How the registry's certificate is checked. Default: by the public authorities.
    /// Example: `{caRef: {name: corporate-ca}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// The repositories that may be pulled through the mirror, as patterns: `*` stands for anything within one
    /// component of the path, `**` for anything at all. Default: all of them.
    /// Example: `["team/**", "base/*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255), regex(pattern = r"^[a-z0-9*._/-]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub repositories: Vec<String>,
}

/// TLS towards the registry.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// Authorities that are trusted besides the public ones. Default: none.
    /// Example: `{kind: ConfigMap, name: corporate-ca, key: ca.crt}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// Certificates of authorities, in PEM, in an object of the operator's namespace.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// The kind of the object: `ConfigMap` (default) or `Secret`.
    #[serde(default)]
    pub kind: CaKind,
    /// The name of the object. Example: `corporate-ca`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key whose value is the PEM text. Default: `ca.crt`.
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
