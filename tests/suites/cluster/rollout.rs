//! Changes that restart members: one mirror at a time, and tools that wait judge right.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidepool_tests::Cluster;

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, await_condition, helm, installed, members, mirror_of};

const MIRRORS: [&str; 3] = [MIRROR, "lagoon", "atoll"];

/// The mirrors of which a Deployment has not all that it wants ready and up to date.
fn rolling(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let list = cluster.kubectl_json(&["get", "deployments", "-n", SYSTEM, "-l", "tidepool.dev/mirror"])?;
    let is_rolling = |deployment: &&Value| {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let settled = status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["updatedReplicas"] == spec["replicas"]
            && status["readyReplicas"] == spec["replicas"]
            && status["replicas"] == spec["replicas"];
        !settled
    };
    let deployments = list["items"].as_array().cloned().unwrap_or_default();
    let name = |deployment: &Value| deployment["metadata"]["labels"]["tidepool.dev/mirror"].as_str().map(str::to_owned);
    Ok(deployments.iter().filter(is_rolling).filter_map(name).collect())
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

    let (mut most, started) = (0, Instant::now());
    loop {
        let rolling = rolling(&cluster).unwrap();
        most = most.max(rolling.len());
        assert!(rolling.len() <= 1, "{rolling:?} roll at once");
        let after: Vec<_> = MIRRORS.iter().map(|name| members(&cluster, name)).collect();
        let renewed = after.iter().zip(&before).all(|(now, before)| now.len() == 1 && now[0].uid != *before);
        if renewed && rolling.is_empty() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(180), "not all rolled\n{}", cluster.diagnose());
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(most, 1, "a roll was seen");
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
    helm_waits(&cluster, &broken, "60s").expect_err("Helm does not take a broken mirror for a good one");
    assert!(started.elapsed() < Duration::from_secs(45), "a mirror that is Stalled is not waited for");
    await_condition(&cluster, "Stalled", "True", "");
    let wait = |timeout: &str| {
        cluster.try_kubectl(&["wait", "--for=condition=Ready", "registrymirror", MIRROR, timeout]).unwrap()
    };
    assert!(!wait("--timeout=3s").success, "a mirror that cannot be is not Ready");
    helm_waits(&cluster, &mirror_of(MIRROR, &["docker.io"]), "120s").unwrap();
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
