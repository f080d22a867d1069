//! Parts of blobs: downloads that are resumed.

use std::fs;
use std::time::Duration;

use tidepool_tests::{Fault, Image, Times, until};

use crate::clients::{curl_with, digest_of, download, downloading};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::{LOSS, MIB, largest, push};

/// A large blob, at the proxy and as it is.
pub(crate) struct Layer {
    pub(crate) upstream: Distribution,
    pub(crate) image: Image,
    pub(crate) bytes: Vec<u8>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        let upstream = Distribution::start();
        let image = push(&upstream, "app", &[24]);
        let url = format!("http://127.0.0.1:{}/v2/library/app/blobs/{}", upstream.port(), largest(&image).digest);
        let bytes = curl_with(&url, &[]).stdout;
        Self { upstream, image, bytes }
    }

    pub(crate) fn url(&self, proxy: &Proxy) -> String {
        format!("{}/v2/library/app/blobs/{}", proxy.url(), largest(&self.image).digest)
    }
}

#[test]
fn p7_curl_resumes_on_a_kept_blob_and_on_a_fill_in_flight() {
    let layer = Layer::new();
    let (faults, digest) = (layer.upstream.behind_faults(), &largest(&layer.image).digest);
    faults.inject(digest, Times::Always, Fault::Slow(8 * MIB));
    let proxy = Proxy::behind(&faults);
    let folder = tempfile::tempdir().unwrap();
    let (url, file) = (layer.url(&proxy), folder.path().join("blob"));
    let mut first = downloading(&url, &file);
    let begun = || Ok(file.metadata().is_ok_and(|file| file.len() > 3 * MIB));
    until(Duration::from_secs(120), Duration::from_millis(10), "3 MiB", begun).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let got = file.metadata().unwrap().len();
    assert_eq!(download(&url, &file, &["--continue-at", "-"]), 0, "from {got}, in flight");
    assert_eq!(digest_of(&file), *digest);
    let sent = faults.bytes_of(digest);
    assert!(sent <= layer.bytes.len() as u64 + LOSS, "{sent} bytes");

    let file = folder.path().join("kept");
    fs::write(&file, &layer.bytes[..5_000_001]).unwrap();
    assert_eq!(download(&url, &file, &["--continue-at", "-"]), 0, "kept");
    assert_eq!(digest_of(&file), *digest);
    assert_eq!(faults.bytes_of(digest), sent, "upstream is asked for nothing that is kept");
}
