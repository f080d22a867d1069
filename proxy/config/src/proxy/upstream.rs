//! Entries of `upstreams`: which registry, where, as whom.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidepool_oci::RegistryName;
use url::Url;

use super::Tags;
use crate::strict;

/// One mirrored registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// The name that images carry.
    pub registry: RegistryName,
    /// Where it is reached; default from the built-in table, else `https://<registry>`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict::registry_url")]
    pub url: Option<Url>,
    /// The host name, without port, under which clients find this registry alone: `Host: docker-io.cache.corp` with
    /// path `/v2/library/alpine/...`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Who we are to it; default nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How its certificate is checked; default: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The repositories that may be pulled, as globs (`*` within a path component, `**` across); empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// How tags are kept; default: asked for at each pull, and served without limit while the upstream fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
}

impl Upstream {
    /// An upstream at its usual address, with nothing special.
    #[must_use]
    pub fn plain(registry: RegistryName) -> Self {
        Self { registry, url: None, host: None, credentials: None, tls: None, repositories: Vec::new(), tags: None }
    }
}

/// Who we are to an upstream: `username` with `passwordFile`, or `dockerConfigFile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File of the user's password or token; a newline at its end is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// File that `docker login` wrote, with an entry for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_config_file: Option<PathBuf>,
    /// What they are for.
    #[serde(default)]
    pub scope: Scope,
}

/// What credentials for an upstream are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// They lift limits: only what the upstream lets everybody read is served.
    #[default]
    PublicImages,
    /// Whatever they read is served to nodes.
    AllImages,
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file of authorities that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate, for a registry that asks for one. It counts as credentials: nodes and users are
    /// served all that it reads (nodes by `credentials.scope` where there are credentials beside it), clients without a
    /// login what everybody can read without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of that certificate's private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether any certificate is taken for the registry's; whoever is on the way can then read and change all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}
