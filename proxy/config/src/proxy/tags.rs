//! `upstreams[].tags`: how long what a tag points to is believed.

use serde::{Deserialize, Serialize};
use tidepool_oci::TagGlob;

use crate::TimeSpan;

/// How tags of an upstream are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tags {
    /// How long after the upstream last said so a tag is served without asking; default `0s`: asked for at each pull.
    #[serde(default)]
    pub revalidate_after: TimeSpan,
    /// How long after that it is served while the upstream fails; default: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_stale_for: Option<TimeSpan>,
    /// Tags that never move, as patterns (`*` for any characters): never asked for again once they are here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immutable: Vec<TagGlob>,
    /// What is served of a tag that is here, and that the upstream has no more or refuses.
    #[serde(default)]
    pub upstream_gone: UpstreamGone,
}

/// What is served of a tag that is here and gone upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamGone {
    /// What it pointed to.
    #[default]
    Serve,
    /// Nothing: the upstream's no holds.
    Refuse,
}

impl Tags {
    /// Whether the tag never moves.
    #[must_use]
    pub fn is_immutable(&self, tag: &str) -> bool {
        self.immutable.iter().any(|glob| glob.matches(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProxyFile;

    fn of(tags: &str) -> Result<ProxyFile, String> {
        ProxyFile::parse(&format!("upstreams: [{{registry: a.b, tags: {tags}}}]\n")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_asked_each_time_and_served_for_ever() {
        let file = of("{serveStaleFor: 168h, immutable: [\"v*.*.*\", 2024-*]}").unwrap();
        let tags = file.upstreams[0].tags.clone().unwrap();
        assert_eq!((tags.revalidate_after, tags.upstream_gone), (TimeSpan::default(), UpstreamGone::Serve));
        assert!(tags.is_immutable("v1.2.3") && tags.is_immutable("2024-11") && !tags.is_immutable("v1"));
        assert_eq!(ProxyFile::parse(&file.to_yaml().unwrap()).unwrap(), file);
        assert_eq!(of("").unwrap().upstreams[0].tags, None);
        assert_eq!(of("{}").unwrap().upstreams[0].tags, Some(Tags::default()));
        assert_eq!(Tags::default().serve_stale_for, None);
    }

    #[test]
    fn errors_name_the_field_and_what_was_expected() {
        for (tags, field, expected) in [
            ("{revalidateAfter: 7d}", "upstreams[0].tags.revalidateAfter: ", "such as 30s, 10m, 168h"),
            ("{revalidateAfter: 10}", "upstreams[0].tags.revalidateAfter: ", "a length of time such as 10m"),
            ("{serveStaleFor: forever}", "upstreams[0].tags.serveStaleFor: ", "168h"),
            ("{immutable: [v1, \"a/b\"]}", "upstreams[0].tags.immutable[1]: ", "a pattern of tags"),
            ("{upstreamGone: Keep}", "upstreams[0].tags.upstreamGone: ", "`Serve` or `Refuse`"),
            ("{immutables: []}", "upstreams[0].tags: ", "immutable"),
        ] {
            let error = of(tags).unwrap_err();
            assert!(error.starts_with(field) && error.contains(expected), "{error}");
        }
    }
}
