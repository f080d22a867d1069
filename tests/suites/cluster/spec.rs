//! A spec that is wrong in a way only the operator can see.

use serde_json::json;
use tidepool_tests::{Cluster, ImageSpec};

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, asked_by_pull, condition, ephemeral, installed};

/// Generations of the mirror's Deployments and the version of its configuration: what a wrong spec must not move.
fn last_good(cluster: &Cluster) -> String {
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let columns =
        "custom-columns=KIND:.kind,NAME:.metadata.name,UID:.metadata.uid,GENERATION:.metadata.generation,DATA:.data";
    cluster.kubectl(&["get", "deployments,services,secrets", "-n", SYSTEM, "-l", &label, "-o", columns]).unwrap()
}

#[test]
fn an_invalid_spec_is_named_keeps_the_last_good_objects_and_clears() {
    let Some(cluster) = installed(1) else { return };
    apply_and_await(&cluster, &ephemeral());
    let good = last_good(&cluster);
    assert!(good.contains("Deployment") && good.contains("Secret"), "{good}");

    let mut wrong = ephemeral();
    wrong["spec"]["upstreams"][1]["tls"]["caRef"]["name"] = json!("missing");
    cluster.apply(&wrong.to_string()).unwrap();
    let named = || {
        let (status, _, message) = condition(&cluster, "Accepted")?;
        Ok(status == "False" && message.contains("spec.upstreams[1].tls.caRef") && message.contains("missing"))
    };
    cluster.wait_until(SOON, "condition Accepted=False that names the field", named).unwrap();
    assert_eq!(condition(&cluster, "Stalled").unwrap().0, "True");
    assert_eq!(condition(&cluster, "Ready").unwrap().0, "False");
    // It is told when the status is written.
    let events = ["get", "events", "-n", "default", "--field-selector", &format!("involvedObject.name={MIRROR}")];
    let told = || Ok(cluster.kubectl(&events)?.contains("spec.upstreams[1].tls.caRef"));
    cluster.wait_until(SOON, "Event that names the field", told).unwrap();
    assert_eq!(last_good(&cluster), good, "the last good objects stay as they are");
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1")).unwrap();
    let log = asked_by_pull(&cluster, "docker.io", 1, "app:1");
    assert!(
        log.iter().all(|request| request.user_agent.starts_with("tidepool")),
        "the cache goes on serving: {log:#?}"
    );

    // Mended by what was missing, not by another edit of the mirror.
    let authority = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "missing", "namespace": SYSTEM},
        "data": {"ca.crt": cluster.authority().unwrap()},
    });
    cluster.apply(&authority.to_string()).unwrap();
    let clear = || Ok(condition(&cluster, "Accepted")?.0 == "True" && condition(&cluster, "Ready")?.0 == "True");
    cluster.wait_until(SOON, "conditions that say it is mended", clear).unwrap();
    assert_ne!(condition(&cluster, "Stalled").unwrap().0, "True");
}
