//! What a stored manifest names: children, configuration, layers.

use serde::Deserialize;
use tidepool_oci::Digest;

/// The parts of every format of manifests that name content. Not `subject`: that is not a part of who names it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    manifests: Vec<Named>,
    layers: Vec<Named>,
    blobs: Vec<Named>,
    config: Option<Named>,
    #[serde(rename = "fsLayers")]
    fs_layers: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(alias = "blobSum")]
    digest: Option<String>,
}

/// The digests that the file of a manifest names; none where it cannot be read.
pub(crate) fn names_in(file: &[u8]) -> Vec<Digest> {
    let end = file.iter().position(|byte| *byte == b'\n').map_or(file.len(), |at| at + 1);
    let names: Names = serde_json::from_slice(&file[end..]).unwrap_or_default();
    let lists = [names.manifests, names.layers, names.blobs, names.fs_layers, names.config.into_iter().collect()];
    lists.into_iter().flatten().filter_map(|named| named.digest?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_names_its_parts_and_none_its_subject() {
        let digest = |number: u8| format!("sha256:{number:064x}");
        for (parts, count) in [
            (serde_json::json!({"config": {"digest": digest(1)}, "layers": [{"digest": digest(2)}, {}]}), 2),
            (serde_json::json!({"manifests": [{"digest": digest(1)}, {"digest": "sha256:no"}]}), 1),
            (serde_json::json!({"fsLayers": [{"blobSum": digest(1)}], "blobs": [{"digest": digest(2)}]}), 2),
            (serde_json::json!({"subject": {"digest": digest(1)}, "layers": []}), 0),
            (serde_json::json!({"layers": "none"}), 0),
        ] {
            let file = format!("application/x check\n{parts}");
            assert_eq!(names_in(file.as_bytes()).len(), count, "{parts}");
        }
        assert!(names_in(b"").is_empty() && names_in(b"\n").is_empty() && names_in(b"x\n\xff").is_empty());
    }
}
