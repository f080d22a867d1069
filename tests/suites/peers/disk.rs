//! The proxy is killed, its disk is full, its disk lies.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use tidepool_tests::{Blob, Fault, Times, until};

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
    until(Duration::from_secs(30), Duration::from_millis(20), "half of the layer", half).unwrap();
    proxy.kill();
    assert!(!reader.wait().unwrap().success(), "its proxy was killed");
    let before = faults.bytes_of(&layer.digest);
    proxy.go();
    assert_eq!(download(&url(&proxy), &file, &["--continue-at", "-"]), 0);
    assert_eq!(digest_of(&file), layer.digest);
    assert_eq!(skopeo(&format!("{}/library/app:1", proxy.address()), folder.path()).as_ref(), Ok(&image.top.digest));
    let after = faults.bytes_of(&layer.digest) - before;
    assert!(after <= layer.size - before + LOSS, "{before} and then {after} bytes for a layer of {}", layer.size);
}

/// What happens to the file of a kept blob.
fn damaged(what: &str, damage: impl Fn(&Path, &Blob)) {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[12, 2]);
    let proxy = Proxy::start(&upstream);
    let folder = tempfile::tempdir().unwrap();
    let (name, layer) = (format!("{}/library/app:1", proxy.address()), largest(&image));
    skopeo(&name, folder.path()).unwrap();
    // Twice: what a process has checked it checks again when the file has changed.
    for round in 0..2 {
        damage(&proxy.file_of(&layer.digest), layer);
        let (url, file) =
            (format!("{}/v2/library/app/blobs/{}", proxy.url(), layer.digest), folder.path().join("blob"));
        assert_eq!(download(&url, &file, &[]), 0, "{what}, round {round}");
        assert_eq!(digest_of(&file), layer.digest, "{what}, round {round}");
        assert_eq!(upstream.transfers_of(&layer.digest), round + 2, "{what}: it is filled again, once");
        assert_eq!(skopeo(&name, folder.path()).as_ref(), Ok(&image.top.digest));
        assert_eq!(upstream.transfers_of(&layer.digest), round + 2, "{what}: and kept");
    }
}

#[test]
fn p5_a_flipped_bit_on_disk_reaches_no_client() {
    damaged("a flipped bit", |path, layer| {
        let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
        let (at, mut byte) = (SeekFrom::Start(layer.size / 2 + 12_345), [0]);
        file.seek(at).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(at).unwrap();
        file.write_all(&[byte[0] ^ 4]).unwrap();
    });
}

#[test]
fn p5_a_file_cut_short_on_disk_reaches_no_client() {
    damaged("a shorter file", |path, layer| {
        fs::File::options().write(true).open(path).unwrap().set_len(layer.size - 3 * MIB).unwrap();
    });
}

#[test]
fn p5_a_hole_on_disk_reaches_no_client() {
    damaged("a hole", |path, layer| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(layer.size / 3).unwrap();
        file.set_len(layer.size).unwrap();
    });
}

#[test]
fn p11_a_full_disk_streams_through_and_what_fits_is_kept() {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[24, 1]);
    let faults = upstream.behind_faults();
    let proxy = Proxy::on_a_disk_of(8 * MIB, &faults);
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let pulled = skopeo(&format!("{}/library/app:1", proxy.address()), folder.path());
        assert_eq!(pulled.as_ref(), Ok(&image.top.digest));
    }
    assert_eq!(faults.gets_of(&image.config.digest).len(), 1, "what fits is kept");
}
