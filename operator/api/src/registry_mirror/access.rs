//! Who may pull at the mirror's port for clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// Who may pull at the mirror's port for clients, in the cluster and through the Ingress. Nodes are not meant: they have
/// a port of their own, and `upstreams[].credentials.scope` says what they may pull.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// What a client without a login may pull: `PublicImages`, what the registry itself lets everybody read; `All`,
    /// whatever the credentials of the upstreams read; `None`, nothing. Default: `PublicImages`. Example: `None`.
    #[serde(default)]
    pub anonymous_pull: AnonymousPull,
    /// The Secret of the users, who may pull whatever the credentials of the upstreams read. Under key `htpasswd` or
    /// `auth` it holds lines as `htpasswd -nB <user>` prints them (bcrypt). Default: there are no users, and nobody is
    /// asked to log in. Example: `{name: mirror-users}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users_secret_ref: Option<SecretRef>,
}

/// What a client without a login may pull.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnonymousPull {
    /// What the registry itself lets everybody read.
    #[default]
    PublicImages,
    /// Whatever the credentials read.
    All,
    /// Nothing.
    None,
}
