//! What manifests say: whether one is one, and what an index lists.

use serde::Deserialize;
use tidepool_oci::Digest;

use crate::store::Manifest;

/// What a manifest may say of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: Option<String>,
    schema_version: Option<serde::de::IgnoredAny>,
    /// What no manifest has, but every answer of a registry that says no.
    errors: Option<serde::de::IgnoredAny>,
}

/// An index, as far as it leads on.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    digest: Digest,
}

/// The manifests that an index lists; none where it is no index.
pub(super) fn children(manifest: &Manifest) -> Vec<Digest> {
    let kinds =
        ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
    if !kinds.contains(&manifest.media_type.to_ascii_lowercase().as_str()) {
        return Vec::new();
    }
    let index = serde_json::from_slice::<Index>(&manifest.bytes);
    index.map(|index| index.manifests.into_iter().map(|child| child.digest).collect()).unwrap_or_default()
}

/// Whether this can be a manifest: captive portals and maintenance pages answer everything with 200.
pub(crate) fn is_manifest(media_type: &str, bytes: &[u8]) -> bool {
    let is_object = bytes.trim_ascii_start().starts_with(b"{"); // serde takes an array for a struct too
    let described = serde_json::from_slice::<Described>(bytes).ok().filter(|_| is_object);
    let sound = described.is_some_and(|it| {
        let agrees = it.media_type.is_none_or(|named| named.eq_ignore_ascii_case(media_type));
        agrees && (it.errors.is_none() || it.schema_version.is_some())
    });
    sound && !media_type.to_ascii_lowercase().starts_with("text/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_a_json_object_that_agrees_with_its_content_type() {
        for (media_type, bytes, expected) in [
            ("a/b+json", r#"{"schemaVersion":2}"#, true),
            ("a/b+json", r#" {"mediaType":"a/b+json","layers":[{}]}"#, true),
            ("a/b+json", r#"{"mediaType":"a/c+json"}"#, false),
            ("a/b+json", r#"{"mediaType":"a/b+json"}<"#, false),
            ("a/b+json", r#"["a/b+json"]"#, false),
            ("a/b+json", "<html>", false),
            ("a/b+json", "", false),
            ("text/html", "{}", false),
            ("text/plain", "{}", false),
            ("application/json", r#"{"errors":[{"code":"UNAVAILABLE"}]}"#, false),
            ("application/json", r#"{"schemaVersion":2,"errors":[]}"#, true),
        ] {
            assert_eq!(is_manifest(media_type, bytes.as_bytes()), expected, "{media_type} {bytes}");
        }
    }
}
