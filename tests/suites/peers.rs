//! The proxy alone, between real programs: distribution behind it; skopeo, crane and podman before it.
//!
//! Everything is on loopback with free ports. What upstream was asked is read from distribution's access log.

#![cfg(test)]

#[path = "peers/distribution.rs"]
mod distribution;
#[path = "peers/proxy.rs"]
mod proxy;

use std::path::Path;
use std::process::Command;

use distribution::Distribution;
use proxy::Proxy;
use tidepool_tests::{Image, ImageSpec, peer};

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?}: {}", text(&output.stderr)))
    }
}

/// A complete copy by skopeo into a folder, and the digest of what the name meant.
fn skopeo(image: &str, folder: &Path) -> Result<String, String> {
    let (source, target) = (format!("docker://{image}"), format!("dir:{}", folder.join("skopeo").display()));
    let digest = folder.join("digest");
    let mut copy = Command::new("timeout");
    copy.args(["60", "skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "--preserve-digests"]);
    run(copy.arg("--digestfile").arg(&digest).args([source, target]))?;
    std::fs::read_to_string(digest).map_err(|error| error.to_string())
}

/// A pull by podman into a storage of its own.
fn podman(image: &str, folder: &Path) -> Result<String, String> {
    let policy = folder.join("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let mut podman = Command::new("timeout");
    podman.args(["60", "podman", "--storage-driver=vfs", "--root"]).arg(folder.join("root")).arg("--runroot");
    podman.arg(folder.join("run")).args(["pull", "--quiet", "--tls-verify=false", "--signature-policy"]).arg(policy);
    run(podman.arg(image))
}

fn crane(act: &str, more: &[&str]) -> Result<String, String> {
    let crane = peer("crane").map_err(|error| format!("{error:#}"))?;
    run(Command::new("timeout").arg("60").arg(crane).arg(act).arg("--insecure").args(more))
}

fn push(upstream: &Distribution, repository: &str) -> Image {
    upstream.push(&ImageSpec::new(repository, "1").layers(&[6, 2]).index())
}

#[test]
fn every_client_gets_the_bytes_and_upstream_is_asked_for_each_blob_once() {
    let upstream = Distribution::start();
    let image = push(&upstream, "library/app");
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
    podman(&format!("{}/app:1", proxy.address()), folder.path()).unwrap();
    let later = upstream.requests().split_off(before);
    let bodies: Vec<_> = later.iter().filter(|line| line.contains("\"GET ") && line.contains("/blobs/")).collect();
    assert!(bodies.is_empty(), "what is kept was asked of upstream again: {bodies:#?}");
}

#[test]
fn what_is_kept_is_served_with_upstream_gone_also_after_a_restart() {
    let upstream = Distribution::start();
    let image = push(&upstream, "library/app");
    push(&upstream, "library/cold");
    let proxy = Proxy::start(&upstream);
    let folder = tempfile::tempdir().unwrap();
    let kept = |proxy: &Proxy| format!("{}/library/app:1", proxy.address());
    skopeo(&kept(&proxy), folder.path()).unwrap();

    let stopped = upstream.stop();
    assert_eq!(skopeo(&kept(&proxy), folder.path()).unwrap(), image.top.digest);
    let proxy = proxy.restart(&stopped);
    assert_eq!(skopeo(&kept(&proxy), folder.path()).unwrap(), image.top.digest);
    let cold = skopeo(&format!("{}/library/cold:1", proxy.address()), folder.path()).unwrap_err();
    assert!(!cold.contains("manifest unknown"), "an outage must not look like a missing image: {cold}");
}

#[test]
fn what_upstream_has_not_and_what_may_not_be_pulled_is_said_at_once() {
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
