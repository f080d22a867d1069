//! Members and agents that go away while nodes pull.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidepool_tests::{Cluster, ImageSpec, Request};

use crate::installed::{MIRROR, SYSTEM, apply_and_await, asked_by_pull, await_active, ephemeral, installed, pull};

/// Pulls `image` on a node over and over until told to stop, and gives how often it did; any failure is the result.
fn pull_until(cluster: &Cluster, node: usize, image: &str, stop: &AtomicBool) -> Result<usize, String> {
    let mut pulls = 0;
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        cluster.pull(node, image).map_err(|error| format!("pull {pulls} after {:?}: {error:#}", started.elapsed()))?;
        cluster.remove_image(node, image).map_err(|error| format!("{error:#}"))?;
        pulls += 1;
    }
    Ok(pulls)
}

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

    let stop = AtomicBool::new(false);
    let pulls = std::thread::scope(|scope| {
        let looping = scope.spawn(|| pull_until(&cluster, 1, "docker.io/library/app:1", &stop));
        std::thread::sleep(Duration::from_secs(3));
        delete_and_await(&cluster, SYSTEM, &format!("tidepool.dev/mirror={MIRROR}"));
        std::thread::sleep(Duration::from_secs(3));
        delete_and_await(&cluster, "tidepool-agents", "app.kubernetes.io/component=agent");
        std::thread::sleep(Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        looping.join().expect("the loop does not panic")
    });
    let pulls = pulls.unwrap_or_else(|failure| panic!("a pull failed: {failure}\n{}", cluster.diagnose()));
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
