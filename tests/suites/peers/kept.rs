//! What is kept is served without upstream, to every client.

use crate::clients::{crane, podman, skopeo};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::push;

#[test]
fn p6_every_client_gets_the_bytes_and_upstream_is_asked_for_each_blob_once() {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[6, 2]);
    let proxy = Proxy::start(&upstream);
    let folder = tempfile::tempdir().unwrap();
    // Without a registry, as containerd's docker.io, and by the path prefix of a registry with a port.
    let plain = format!("{}/library/app:1", proxy.address());
    let prefixed = format!("{}/{}/library/app:1", proxy.address(), upstream.name().path_segment());
    let aliased = format!("{}/proxy/{}/library/app:1", proxy.address(), upstream.name().path_segment());

    assert_eq!(skopeo(&plain, folder.path()).unwrap(), image.top.digest);
    for blob in std::iter::once(&image.config).chain(&image.layers) {
        assert_eq!(upstream.transfers_of(&blob.digest), 1, "of {}", blob.digest);
    }
    let before = upstream.requests().len();
    assert_eq!(crane("digest", &[&prefixed]).unwrap().trim(), image.top.digest);
    let tar = folder.path().join("crane.tar");
    crane("pull", &[&aliased, tar.to_str().unwrap()]).unwrap();
    podman(&[&format!("{}/app:1", proxy.address())], folder.path()).unwrap();
    let later = upstream.requests().split_off(before);
    let bodies: Vec<_> = later.iter().filter(|line| line.contains("\"GET ") && line.contains("/blobs/")).collect();
    assert!(bodies.is_empty(), "what is kept was asked of upstream again: {bodies:#?}");
}

#[test]
fn p13_what_is_kept_is_served_with_upstream_gone_also_after_a_restart() {
    let upstream = Distribution::start();
    let image = push(&upstream, "app", &[6, 2]);
    push(&upstream, "cold", &[1]);
    let mut proxy = Proxy::start(&upstream);
    let folder = tempfile::tempdir().unwrap();
    let kept = |proxy: &Proxy| format!("{}/library/app:1", proxy.address());
    skopeo(&kept(&proxy), folder.path()).unwrap();

    drop(upstream); // its address refuses connections
    assert_eq!(skopeo(&kept(&proxy), folder.path()).unwrap(), image.top.digest);
    proxy.restart();
    assert_eq!(skopeo(&kept(&proxy), folder.path()).unwrap(), image.top.digest);
    let cold = skopeo(&format!("{}/library/cold:1", proxy.address()), folder.path()).unwrap_err();
    assert!(!cold.contains("manifest unknown"), "an outage must not look like a missing image: {cold}");
}

#[test]
fn p2_what_upstream_has_not_and_what_may_not_be_pulled_is_said_at_once() {
    let upstream = Distribution::start();
    let proxy = Proxy::start(&upstream);
    let error = |repository: &str| crane("manifest", &[&format!("{}/{repository}", proxy.address())]).unwrap_err();
    let missing = error("library/missing:1");
    assert!(missing.contains("404") || missing.contains("MANIFEST_UNKNOWN"), "{missing}");
    let stranger = error("registry.example.com/a/b:1");
    assert!(stranger.contains("NAME_UNKNOWN") || stranger.contains("404"), "{stranger}");
    let push =
        crane("copy", &[&format!("{}/library/app:1", proxy.address()), &format!("{}/library/new:1", proxy.address())]);
    assert!(push.is_err(), "nothing can be pushed to a cache");
}
