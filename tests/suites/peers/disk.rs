//! The disk is full, or lies.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use tidepool_tests::{Blob, Fault, Times};

use crate::clients::{digest_of, download, skopeo};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::{LOSS, MIB, largest, push};

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
fn p11_with_a_full_disk_layers_stream_through() {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[24, 1]);
    let (faults, layer) = (upstream.behind_faults(), largest(&image));
    // Slow, so that little is on its way when the disk is full.
    faults.inject(&layer.digest, Times::Always, Fault::Slow(32 * MIB));
    let proxy = Proxy::on_a_disk_of(8 * MIB, &faults);
    let folder = tempfile::tempdir().unwrap();
    for round in 1..3 {
        let pulled = skopeo(&format!("{}/library/app:1", proxy.address()), folder.path());
        assert_eq!(pulled.as_ref(), Ok(&image.top.digest));
        let sent = faults.bytes_of(&layer.digest);
        assert!(
            sent <= round * (layer.size + LOSS),
            "{sent} bytes for {round} pulls of {}: {:#?}",
            layer.size,
            faults.gets_of(&layer.digest)
        );
    }
    assert!(!proxy.file_of(&layer.digest).exists(), "it has no room");
}
