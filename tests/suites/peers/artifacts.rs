//! What lies beside images: other platforms, signatures, referrers.

use std::fs;

use serde_json::json;

use crate::clients::{crane, curl_with};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::push;

#[test]
fn p9_indexes_signatures_and_artifacts_pass_verbatim() {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[1]);
    let direct = format!("127.0.0.1:{}/library/app", upstream.port());
    // As cosign names a signature, and as clients without the referrers API list what refers to an image.
    let signature = format!("{}.sig", image.top.digest.replace(':', "-"));
    let referrers = image.top.digest.replace(':', "-");
    crane("tag", &[&format!("{direct}:1"), &signature]).unwrap();
    crane("tag", &[&format!("{direct}:1"), &referrers]).unwrap();
    let artifact = put_artifact(&upstream, &image);

    let proxy = Proxy::start(&upstream);
    let through = format!("{}/library/app", proxy.address());
    let index = crane("manifest", &[&format!("{direct}:1")]).unwrap();
    let children: Vec<String> = serde_json::from_str::<serde_json::Value>(&index).unwrap()["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| format!("@{}", child["digest"].as_str().unwrap()))
        .collect();
    assert_eq!(children.len(), 2, "two platforms");
    let others = [":1".to_owned(), format!(":{signature}"), format!(":{referrers}"), format!("@{artifact}")];
    for reference in others.iter().chain(&children) {
        let manifest = |host: &str| crane("manifest", &[&format!("{host}{reference}")]).unwrap();
        assert_eq!(manifest(&through), manifest(&direct), "{reference}");
    }
}

/// Puts a manifest that refers to an image, and says its digest.
fn put_artifact(upstream: &Distribution, image: &tidepool_tests::Image) -> String {
    let folder = tempfile::tempdir().unwrap();
    let descriptor =
        |kind: &str, blob: &tidepool_tests::Blob| json!({"mediaType": kind, "digest": blob.digest, "size": blob.size});
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.example.sbom",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &image.config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &image.layers[0])],
        "subject": descriptor("application/vnd.oci.image.index.v1+json", &image.top),
    });
    let file = folder.path().join("manifest");
    fs::write(&file, manifest.to_string()).unwrap();
    let digest = crate::clients::digest_of(&file);
    let url = format!("http://127.0.0.1:{}/v2/library/app/manifests/{digest}", upstream.port());
    let (data, header) = (format!("@{}", file.display()), format!("Content-Type: {kind}"));
    let put = curl_with(&url, &["--request", "PUT", "--data-binary", &data, "--header", &header]);
    assert!(put.status.success(), "{put:?}");
    digest
}
