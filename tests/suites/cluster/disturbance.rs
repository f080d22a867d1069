//! Members and agents that go away while nodes pull.

use std::time::Duration;

use tidepool_tests::{Cluster, ImageSpec, Request};

use crate::installed::{
    AGENTS, MIRROR, SYSTEM, apply_and_await, asked_by_pull, await_active, ephemeral, installed, pull,
};
use crate::pull_loop::while_pulling;

/// Deletes pods by label and waits until others are ready in their place.
fn delete_and_await(cluster: &Cluster, namespace: &str, label: &str) {
    cluster.kubectl(&["delete", "pod", "-n", namespace, "-l", label, "--wait=true", "--timeout=60s"]).unwrap();
    let ready = || {
        let pods = cluster.kubectl_json(&["get", "pods", "-n", namespace, "-l", label])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let is_ready = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        Ok(!pods.is_empty() && pods.iter().all(is_ready))
    };
    cluster.wait_until(Duration::from_secs(90), "pods in place of the deleted", ready).unwrap();
}

#[test]
fn no_pull_fails_while_the_member_and_then_the_agent_is_deleted() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &ephemeral());
    let upstream = cluster.registry("docker.io").unwrap();
    // Large enough that pods go away in the middle of bodies.
    let image = upstream.push(&ImageSpec::new("library/app", "1").layers(&[48, 24])).unwrap();
    pull(&cluster, 1, "app:1");
    cluster.remove_image(1, "docker.io/library/app:1").unwrap();

    let ((), seen) = while_pulling(&cluster, 1, "docker.io/library/app:1", |pulls| {
        pulls.await_next();
        pulls.step("member deleted", || delete_and_await(&cluster, SYSTEM, &format!("tidepool.dev/mirror={MIRROR}")));
        pulls.step("agent deleted", || delete_and_await(&cluster, AGENTS, "app.kubernetes.io/component=agent"));
    });
    let pulls = seen.pulls;
    assert!(pulls >= 8, "the loop ran {pulls} times only: it saw too little of the changes");

    let around = |request: &Request| !request.user_agent.starts_with("tidepool") && request.served();
    let layer = &image.layers[1].digest;
    let around = upstream.log().unwrap().iter().filter(|r| around(r) && r.reference() == layer).count();
    assert!(around < pulls, "all {pulls} pulls went around the mirror, so the loop shows nothing");

    // And the mirror is in use again, on both nodes.
    await_active(&cluster);
    pull(&cluster, 1, "app:1");
    let log = asked_by_pull(&cluster, "docker.io", 2, "app:1");
    assert!(log.iter().all(|request| !request.is_blob()), "blobs asked of upstream: {log:#?}");
}
