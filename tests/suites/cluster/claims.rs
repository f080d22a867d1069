//! Claims: they grow without a restart, outlive a mirror that says so, and serve the next of the same name.

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec};

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, await_revision, installed, members, mirror, pull};

fn volume(size: &str) -> Value {
    mirror(&json!({"type": "Volume", "volume": {"size": size, "storageClassName": "small"}}))
}

fn claim(cluster: &Cluster) -> Value {
    let claim = cluster.kubectl_json(&["get", "persistentvolumeclaim", &format!("mirror-{MIRROR}-0"), "-n", SYSTEM]);
    claim.unwrap()
}

#[test]
fn a_claim_grows_without_a_restart_and_a_retained_one_serves_the_next_mirror() {
    let Some(cluster) = installed(1) else { return };
    apply_and_await(&cluster, &volume("1Gi"));
    let hub = cluster.registry("docker.io").unwrap();
    hub.push(&ImageSpec::new("library/app", "1").layers(&[8])).unwrap();
    pull(&cluster, 1, "app:1");
    let before = members(&cluster, MIRROR);

    cluster.apply(&volume("2Gi").to_string()).unwrap();
    let asked = || Ok(claim(&cluster)["spec"]["resources"]["requests"]["storage"] == "2Gi");
    cluster.wait_until(SOON, "claim that asks for more", asked).unwrap();
    cluster.resize_claims(SYSTEM).unwrap();
    let ready = ["wait", "--for=condition=StorageReady", "registrymirror", MIRROR, "--timeout=180s"];
    cluster.kubectl(&ready).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
    await_revision(&cluster);
    assert_eq!(members(&cluster, MIRROR), before, "no restart for a volume that grew");

    let uid = claim(&cluster)["metadata"]["uid"].clone();
    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
    let gone = || {
        let left =
            cluster.kubectl(&["get", "pods,deployments", "-n", SYSTEM, "-l", "tidepool.dev/mirror", "-o", "name"])?;
        Ok(left.is_empty())
    };
    cluster.wait_until(SOON, "end of the mirror", gone).unwrap();
    assert_eq!(claim(&cluster)["metadata"]["uid"], uid, "the claim is kept");

    cluster.remove_image(1, "docker.io/library/app:1").unwrap();
    apply_and_await(&cluster, &volume("2Gi"));
    hub.off().unwrap();
    pull(&cluster, 1, "app:1");
    assert_eq!(claim(&cluster)["metadata"]["uid"], uid, "and taken over");
}
