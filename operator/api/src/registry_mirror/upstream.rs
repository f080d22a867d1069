//! One mirrored registry: its name, where it is reached, and what may be pulled from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaRef, SecretRef, Tags, rule};

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
    /// Who the cache is to the registry, and what for. Default: nobody; what everybody may read is mirrored.
    /// Example: `{secretRef: {name: hub-login}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How the registry's certificate is checked, and which the cache shows. Default: by the public authorities, none.
    /// Example: `{caRef: {name: corporate-ca}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// The repositories that may be pulled through the mirror, as patterns: `*` stands for anything within one
    /// component of the path, `**` for anything at all. Default: all of them.
    /// Example: `["team/**", "base/*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255), regex(pattern = r"^[a-z0-9*._/-]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub repositories: Vec<String>,
    /// How tags are kept: how often the registry is asked for them, and what is served while it fails. Default: asked
    /// for at each pull, and served without limit while the registry fails. Example: `{immutable: ["v*.*.*"]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
}

/// Who the cache is to a registry. A change is used within two minutes, without a restart.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The Secret with the login: type `kubernetes.io/basic-auth`; or `kubernetes.io/dockerconfigjson` with an entry for
    /// the registry; or any with keys `username` and `password`. Example: `{name: hub-login}`.
    pub secret_ref: SecretRef,
    /// What the credentials are for. `PublicImages`: they lift limits, and only what the registry lets everybody read is
    /// served to nodes. `AllImages`: whatever they read is served to nodes, so that every pod of the cluster may run it.
    /// Default: `PublicImages`. Example: `AllImages`.
    #[serde(default)]
    pub scope: CredentialScope,
}

/// What credentials for a registry are for.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialScope {
    /// They lift limits: only what the registry lets everybody read is served to nodes.
    #[default]
    PublicImages,
    /// Whatever they read is served to nodes.
    AllImages,
}

/// TLS towards the registry.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!self.insecureSkipVerify || !has(self.caRef)",
    "tls.insecureSkipVerify takes any certificate, so tls.caRef has no use: remove one of the two",
)]))]
pub struct UpstreamTls {
    /// Authorities that are trusted besides the public ones. Default: none.
    /// Example: `{kind: ConfigMap, name: corporate-ca, key: ca.crt}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// The Secret with the certificate that the cache shows to the registry, and its key: type `kubernetes.io/tls`. It
    /// counts as credentials of scope `AllImages`: nodes get what it reads, and clients without a login what everybody
    /// reads without it. Default: none is shown. Example: `{name: registry-client}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretRef>,
    /// Whether any certificate is taken for the registry's, and on the way to it for that of an egress proxy with
    /// `https://`. Whoever is on the way can then read and change all that is pulled, so use it for trials alone.
    /// Default: `false`. Example: `true`.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}
