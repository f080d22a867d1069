//! The chain at work: a first pull, a second node, and an outage.

use serde_json::json;
use tidepool_tests::{Cluster, Image, ImageSpec, Request};

use crate::installed::{
    LISTENER, SOON, apply_and_await, asked_by_pull, ephemeral, hosts_toml, installed, mirror, pull,
};
use crate::member_state::assert_had_once;

/// How often a manifest was had upstream.
fn served(log: &[Request], digest: &str) -> usize {
    log.iter().filter(|request| request.served() && request.reference() == digest).count()
}

fn push(cluster: &Cluster, registry: &str, repository: &str) -> Image {
    let spec = ImageSpec::new(repository, "1").layers(&[8, 3]).index();
    cluster.registry(registry).unwrap().push(&spec).unwrap()
}

#[test]
fn a_first_pull_asks_upstream_once_for_every_blob() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &mirror(&json!({"type": "Volume", "volume": {"size": "5Gi"}})));
    let file = hosts_toml(&cluster, 1, "docker.io").expect("a mirror file");
    assert!(file.contains(LISTENER), "{file}");

    for (registry, repository, name) in [("docker.io", "library/app", "app:1"), ("ghcr.io", "a/b", "ghcr.io/a/b:1")] {
        let image = push(&cluster, registry, repository);
        let log = asked_by_pull(&cluster, registry, 1, name);
        for digest in [&image.manifest.digest, &image.top.digest] {
            assert_eq!(served(&log, digest), 1, "{registry}: upstream transfers of {digest} in {log:#?}");
        }
        assert_had_once(&log, &image);
        let strangers: Vec<_> = log.iter().filter(|request| !request.user_agent.starts_with("tidepool")).collect();
        assert!(strangers.is_empty(), "only the mirror may ask {registry}: {strangers:#?}");
    }
    let honored = cluster.kubectl(&["wait", "--for=condition=Honored", "mirrornode", "node1", "--timeout=180s"]);
    honored.expect("node1 says that its runtime uses the file");
}

#[test]
fn a_second_node_asks_upstream_for_the_tag_alone() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &ephemeral());
    push(&cluster, "docker.io", "library/app");
    pull(&cluster, 1, "app:1");
    let log = asked_by_pull(&cluster, "docker.io", 2, "app:1");
    let beyond: Vec<_> = log.iter().filter(|r| !(r.is_token() || r.method == "HEAD" && r.reference() == "1")).collect();
    assert!(beyond.is_empty(), "asked of upstream beside the tag: {beyond:#?}");
    assert_eq!(log.iter().filter(|r| r.method == "HEAD").count(), 1, "one HEAD a pull: {log:#?}");
}

#[test]
fn with_upstream_off_a_pod_starts_on_an_empty_node() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &ephemeral());
    push(&cluster, "docker.io", "library/app");
    push(&cluster, "docker.io", "library/never-pulled");
    cluster.run_pod("first", 1, "app:1", SOON).unwrap();

    cluster.registry("docker.io").unwrap().off().unwrap();
    let cold = cluster.pull(2, "never-pulled:1");
    assert!(cold.is_err(), "upstream is off, so an image that nobody pulled before cannot be had");
    cluster.run_pod("second", 2, "app:1", SOON).unwrap();
}
