//! How long what a tag points to is believed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;

/// How tags are kept. A pull asks the registry what a tag points to, by a request that registries do not count.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tags {
    /// How long after the registry last said so a tag is served without asking again; a tag that moves is seen that much
    /// later. In whole hours, minutes and seconds, at most a year. Default: `0s`, each pull asks. Example: `10m`.
    #[serde(default = "zero")]
    #[schemars(
        length(min = 2, max = 18),
        regex(pattern = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"),
        extend("x-kubernetes-validations" = [rule(
            "duration(self) <= duration('8760h')",
            "tags.revalidateAfter is at most a year, 8760h: name tags that never move in tags.immutable",
        )])
    )]
    pub revalidate_after: String,
    /// How long after the registry last said so a tag is served while the registry fails. Then nodes are sent to the
    /// registry itself. In whole hours, minutes and seconds, at most a year. Default: without limit. Example: `168h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 18),
        regex(pattern = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"),
        extend("x-kubernetes-validations" = [rule(
            "duration(self) <= duration('8760h')",
            "tags.serveStaleFor is at most a year, 8760h: leave it out to serve tags without limit",
        )])
    )]
    pub serve_stale_for: Option<String>,
    /// Tags that never move, as patterns: `*` stands for any characters. Once such a tag is in the cache, the registry
    /// is never asked for it again: `v*` freezes `v1`, too, where that moves from `v1.1` to `v1.2`. Default: none.
    /// Example: `["v*.*.*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_*][A-Za-z0-9._*-]*$")), extend("x-kubernetes-list-type" = "set"))]
    pub immutable: Vec<String>,
    /// What is served of a tag in the cache that the registry has no more or refuses: `Serve`, what it pointed to last;
    /// `Refuse`, nothing. What needed credentials is never served after the registry refuses it. Default: `Serve`.
    /// Example: `Refuse`.
    #[serde(default)]
    pub upstream_gone: UpstreamGone,
}

/// What is served of a tag in the cache that is gone upstream.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamGone {
    /// What it pointed to last.
    #[default]
    Serve,
    /// Nothing: the registry's no holds.
    Refuse,
}

fn zero() -> String {
    "0s".to_owned()
}
