//! Changes that restart members: one mirror at a time, and tools that wait judge right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidepool_tests::Cluster;

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, await_condition, helm, installed, members, mirror_of};

const MIRRORS: [&str; 3] = [MIRROR, "lagoon", "atoll"];

/// The mirrors whose members have the image with this tag, each with whether all that is wanted is ready and up to date.
fn changed(cluster: &Cluster, tag: &str) -> anyhow::Result<BTreeMap<String, bool>> {
    let list = cluster.kubectl_json(&["get", "deployments", "-n", SYSTEM, "-l", "tidepool.dev/mirror"])?;
    let is_settled = |deployment: &Value| {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["updatedReplicas"] == spec["replicas"]
            && status["readyReplicas"] == spec["replicas"]
            && status["replicas"] == spec["replicas"]
    };
    let has_tag = |deployment: &&Value| {
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().is_some_and(|image| image.ends_with(tag))
    };
    let deployments = list["items"].as_array().cloned().unwrap_or_default();
    let name = |it: &Value| it["metadata"]["labels"]["tidepool.dev/mirror"].as_str().unwrap_or_default().to_owned();
    Ok(deployments.iter().filter(has_tag).map(|it| (name(it), is_settled(it))).collect())
}

#[test]
fn members_roll_one_mirror_at_a_time_when_the_operators_image_changes() {
    let Some(cluster) = installed(1) else { return };
    for (name, registry) in [("lagoon", "ghcr.io"), ("atoll", "quay.io")] {
        cluster.apply(&mirror_of(name, &[registry]).to_string()).unwrap();
    }
    apply_and_await(&cluster, &mirror_of(MIRROR, &["docker.io"]));
    for name in MIRRORS {
        cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror", name, "--timeout=180s"]).unwrap();
    }
    let before: Vec<_> = MIRRORS.iter().map(|name| members(&cluster, name)[0].uid.clone()).collect();

    // The same image by another name, as an upgrade has it.
    let images = cluster.in_node(1, &["ctr", "-n", "k8s.io", "images", "ls", "-q"]).unwrap();
    let image = images.lines().find(|name| name.contains("/tidepool:")).expect("the image is on the node").to_owned();
    let (repository, _) = image.rsplit_once(':').unwrap();
    cluster.in_node(1, &["ctr", "-n", "k8s.io", "images", "tag", &image, &format!("{repository}:next")]).unwrap();
    helm(&cluster, "upgrade", &["--set", "image.tag=next"]);

    let (mut rolled, mut seen) = (BTreeSet::new(), false);
    let all = || {
        let changed = changed(&cluster, ":next")?;
        rolled.extend(changed.iter().filter(|(_, settled)| **settled).map(|(name, _)| name.clone()));
        // One that was ready once and is not for a moment later on is none that rolls.
        let rolling: Vec<_> = changed.keys().filter(|name| !rolled.contains(*name)).collect();
        seen = seen || !rolling.is_empty();
        assert!(rolling.len() <= 1, "{rolling:?} roll at once");
        Ok(rolled.len() == MIRRORS.len())
    };
    cluster.wait_until(SOON * 2, "members of all mirrors with the other image", all).unwrap();
    assert!(seen, "a roll was seen");
    let renewed = || {
        let mut after = MIRRORS.iter().map(|name| members(&cluster, name)).zip(&before);
        Ok(after.all(|(now, before)| now.len() == 1 && now[0].uid != *before))
    };
    cluster.wait_until(SOON, "end of the members before", renewed).unwrap();
    for name in MIRRORS {
        let version = ["get", "registrymirror", name, "-o", "jsonpath={.status.members.version}"];
        let told = || Ok(cluster.kubectl(&version)? == "next");
        cluster.wait_until(SOON, "status that names the new version", told).unwrap();
    }
}

/// Installs or upgrades a chart of a mirror alone, as a platform team has it, and waits as Helm does.
fn helm_waits(cluster: &Cluster, mirror: &Value, timeout: &str) -> anyhow::Result<String> {
    let chart = cluster.folder()?.join("chart");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: mirrors, version: 0.1.0}")?;
    std::fs::write(chart.join("templates/mirror.yaml"), mirror.to_string())?;
    let chart = chart.display().to_string();
    cluster.helm(&["upgrade", "--install", "mirrors", &chart, "-n", SYSTEM, "--wait", "--timeout", timeout])
}

#[test]
fn what_waits_for_a_mirror_judges_right() {
    let Some(cluster) = installed(1) else { return };
    let mut broken = mirror_of(MIRROR, &["docker.io"]);
    broken["spec"]["upstreams"][0]["credentials"] = json!({"secretRef": {"name": "missing"}});
    let started = Instant::now();
    helm_waits(&cluster, &broken, "200s").expect_err("Helm does not take a broken mirror for a good one");
    assert!(started.elapsed() < Duration::from_secs(150), "a mirror that is Stalled is not waited for");
    await_condition(&cluster, "Stalled", "True", "");
    let wait = |timeout: &str| {
        cluster.try_kubectl(&["wait", "--for=condition=Ready", "registrymirror", MIRROR, timeout]).unwrap()
    };
    assert!(!wait("--timeout=3s").success, "a mirror that cannot be is not Ready");
    helm_waits(&cluster, &mirror_of(MIRROR, &["docker.io"]), "240s").unwrap();
    assert!(wait("--timeout=3s").success, "Helm has waited until it is Ready");

    // A change is waited for: at no moment is the last state taken for the new one.
    cluster.apply(&broken.to_string()).unwrap();
    let mirror = || cluster.kubectl_json(&["get", "registrymirror", MIRROR]).unwrap();
    let judged = || {
        let mirror = mirror();
        let current = mirror["status"]["observedGeneration"] == mirror["metadata"]["generation"];
        let conditions = mirror["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        assert!(!(current && ready), "Ready for a spec that is refused: {mirror}");
        Ok(current)
    };
    cluster.wait_until(SOON, "status about the change", judged).unwrap();
}
