//! What a proxy reports of itself at `/state` on its admin port: the operator reads it, and people do.

use serde::{Deserialize, Serialize};
use tidepool_oci::RegistryName;

/// The state of one proxy, as JSON. Holds no secret. Unknown fields are ignored, so that an old operator reads a newer
/// member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyState {
    /// The `revision` of the configuration that is in use, with all the files it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Why the configuration on disk is not in use; none where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
    /// Each mirrored registry.
    #[serde(default)]
    pub upstreams: Vec<UpstreamState>,
}

/// How one upstream behaves towards this proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamState {
    /// Its name.
    pub registry: RegistryName,
    /// What came of asking it last.
    #[serde(default)]
    pub reach: Reach,
    /// What came of the credentials.
    #[serde(default)]
    pub credentials: CredentialState,
    /// The last failure in words, while there is one; never with a secret in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What people want to know besides.
    #[serde(default, skip_serializing_if = "UpstreamHealth::is_nothing")]
    pub health: UpstreamHealth,
}

/// How an upstream is treated now, and why. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpstreamHealth {
    /// Nothing is asked of it until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_until: Option<u64>,
    /// What is kept is served without asking until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strained_until: Option<u64>,
    /// It said itself that it wants to be left alone until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Failures since it last answered well.
    pub failures: u32,
    /// The last failure, also when it is well again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The limit of pulls, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Tokens held for it.
    pub tokens: usize,
    /// When the first of them ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ends: Option<u64>,
}

impl UpstreamHealth {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// When, in seconds since 1970.
    pub at: u64,
    /// In words, without a secret.
    pub message: String,
}

/// How many pulls a registry allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// In a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That are left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// How long a window is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
}

/// What came of asking an upstream last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// It answers.
    Reachable,
    /// It answers 429.
    RateLimited,
    /// It cannot be reached, is silent, or fails.
    Unreachable,
    /// It was not asked yet; or something this reader does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What came of the credentials for an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialState {
    /// The upstream took them.
    Accepted,
    /// The upstream, or its token server, turned them down.
    Refused,
    /// There are none, or they were not needed yet; or something this reader does not know.
    #[default]
    #[serde(other)]
    Untried,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_members_words_are_read_as_unknown() {
        let text =
            r#"{"revision":"a","new":1,"upstreams":[{"registry":"ghcr.io","reach":"Sideways","credentials":"Odd"}]}"#;
        let state: ProxyState = serde_json::from_str(text).unwrap();
        assert_eq!((state.upstreams[0].reach, state.upstreams[0].credentials), Default::default());
    }
}
