//! The proxy is killed in the middle of a fill.

use std::time::Duration;

use tidepool_tests::{Fault, Times, until};

use crate::clients::{digest_of, download, downloading, skopeo};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::{LOSS, MIB, largest, push};

#[test]
fn p6_a_killed_proxy_asks_only_for_what_is_missing() {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[32]);
    let (faults, layer) = (upstream.behind_faults(), largest(&image));
    faults.inject(&layer.digest, Times::Next(1), Fault::Slow(8 * MIB));
    let mut proxy = Proxy::behind(&faults);
    let folder = tempfile::tempdir().unwrap();
    let (url, file) =
        (|proxy: &Proxy| format!("{}/v2/library/app/blobs/{}", proxy.url(), layer.digest), folder.path().join("blob"));
    let mut reader = downloading(&url(&proxy), &file);
    let half = || Ok(faults.bytes_of(&layer.digest) > layer.size / 2);
    until(Duration::from_secs(120), Duration::from_millis(20), "half of the layer", half).unwrap();
    proxy.kill();
    assert!(!reader.wait().unwrap().success(), "its proxy was killed");
    let (before, broken) = (faults.bytes_of(&layer.digest), faults.gets_of(&layer.digest).len() as u64);
    proxy.go();
    assert_eq!(download(&url(&proxy), &file, &["--continue-at", "-"]), 0);
    assert_eq!(digest_of(&file), layer.digest);
    assert_eq!(skopeo(&format!("{}/library/app:1", proxy.address()), folder.path()).as_ref(), Ok(&image.top.digest));
    let after = faults.bytes_of(&layer.digest) - before;
    let asked = faults.gets_of(&layer.digest);
    assert!(
        after <= layer.size - before + broken * LOSS,
        "{before} and then {after} bytes of {}: {asked:#?}",
        layer.size
    );
}
