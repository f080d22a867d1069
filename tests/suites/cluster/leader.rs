//! Two operators: one leads, the other takes over and writes nothing; and what others change is set right.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidepool_tests::Cluster;

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, installed, mirror};
use crate::quiet::{await_proven, await_quiet, writes};

const OPERATORS: &str = "app.kubernetes.io/component=operator";
/// Every kind that a mirror has objects of.
const KINDS: &str = "deployments,services,secrets,serviceaccounts,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,ingresses";

/// The pod that holds the lease.
fn leader(cluster: &Cluster) -> anyhow::Result<String> {
    let lease = cluster.kubectl_json(&["get", "lease", "tidepool-operator", "-n", SYSTEM])?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

/// Versions of all objects of the mirror, of the mirror itself and of what agents read.
fn versions(cluster: &Cluster) -> BTreeMap<String, String> {
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let questions: [&[&str]; 3] = [
        &["get", KINDS, "-n", SYSTEM, "-l", &label],
        &["get", "registrymirrors"],
        &["get", "configmap/tidepool-nodes", "secret/tidepool-agent-identity", "-n", "tidepool-agents"],
    ];
    let mut versions = BTreeMap::new();
    for question in questions {
        for object in cluster.kubectl_json(question).unwrap()["items"].as_array().unwrap() {
            let metadata = &object["metadata"];
            versions
                .insert(format!("{}/{}", object["kind"], metadata["name"]), metadata["resourceVersion"].to_string());
        }
    }
    assert!(versions.len() >= 7, "{versions:#?}");
    versions
}

/// The pod that holds the lease under this name.
fn pod_of<'a>(pods: &'a str, holder: &str) -> &'a str {
    let found = pods.lines().map(|pod| pod.trim_start_matches("pod/")).find(|pod| holder.contains(pod));
    found.unwrap_or_else(|| panic!("the lease names no operator pod: {holder} of {pods}"))
}

/// Waits until an operator has looked at all that there is.
fn await_reconciled(cluster: &Cluster, pod: &str) -> anyhow::Result<()> {
    let curl = ["curl", "-sS", "-m", "5", "http://127.0.0.1:8080/metrics"];
    let looked = || {
        let metrics = cluster.try_in_pod_network(SYSTEM, pod, &curl)?.stdout;
        let counts = |controller: &str| {
            let of = format!("tidepool_reconcile_seconds_count{{controller=\"{controller}\",result=\"success\"}}");
            metrics.lines().any(|line| line.starts_with(&of) && !line.ends_with(" 0"))
        };
        Ok(["mirror", "nodes", "probes", "absences"].into_iter().all(counts))
    };
    cluster.wait_until(SOON, &format!("first look of {pod} at everything"), looked)
}

#[test]
fn a_take_over_writes_nothing_and_what_others_change_is_set_right() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &mirror(&json!({"type": "Volume", "volume": {"size": "5Gi"}})));
    // What is said of a new mirror comes with jitter; it must not be taken for the take-over's.
    await_proven(&cluster);
    await_quiet(&cluster);
    let pods = cluster.kubectl(&["get", "pods", "-n", SYSTEM, "-l", OPERATORS, "-o", "name"]).unwrap();
    assert_eq!(pods.lines().count(), 2, "{pods}");
    let first = leader(&cluster).unwrap();
    let holder = pod_of(&pods, &first);

    let before = versions(&cluster);
    let (second, events) = cluster
        .audit_during(|| {
            cluster.kubectl(&["delete", "pod", holder, "-n", SYSTEM, "--grace-period=0", "--force"])?;
            let other = || leader(&cluster).map(|now| !now.is_empty() && now != first);
            cluster.wait_until(SOON, "another leader", other)?;
            let second = leader(&cluster)?;
            let pods = cluster.kubectl(&["get", "pods", "-n", SYSTEM, "-l", OPERATORS, "-o", "name"])?;
            await_reconciled(&cluster, pod_of(&pods, &second))?;
            // What it learns of members and writes for it comes after its first look.
            std::thread::sleep(Duration::from_secs(15));
            Ok(second)
        })
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(versions(&cluster), before, "a take-over changes no object");
    let written = writes(&events);
    assert!(written.is_empty(), "written by a take-over: {written:#?}");
    a_lease_is_handed_over(&cluster, &second);
    drift_is_repaired(&cluster);
    a_foreign_secret_survives(&cluster);
}

/// A leader that is told to stop gives its lease back, so that nobody waits for its end. That it stood there without a
/// holder may be over within a moment.
fn a_lease_is_handed_over(cluster: &Cluster, holder: &str) {
    let pods = cluster.kubectl(&["get", "pods", "-n", SYSTEM, "-l", OPERATORS, "-o", "name"]).unwrap();
    let watch = cluster.watch(&["lease", "tidepool-operator", "-n", SYSTEM]).unwrap();
    cluster.kubectl(&["delete", "pod", pod_of(&pods, holder), "-n", SYSTEM, "--wait=false"]).unwrap();
    let holders = || -> Vec<String> {
        let of = |event: &Value| event["object"]["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        watch.seen().iter().map(of).skip_while(|name| name != holder).skip_while(|name| name == holder).collect()
    };
    cluster.wait_until(SOON, "end of a leader", || Ok(!holders().is_empty())).unwrap();
    assert_eq!(holders()[0], "", "who stops gives the lease back");
    let other = || Ok(holders().iter().any(|name| !name.is_empty()));
    cluster.wait_until(SOON, "leader after a hand-over", other).unwrap();
}

fn drift_is_repaired(cluster: &Cluster) {
    let service = format!("service/mirror-{MIRROR}");
    let deployment = format!("deployment/mirror-{MIRROR}-0");
    let config = format!("secret/mirror-{MIRROR}-config");
    cluster.kubectl(&["delete", &service, "-n", SYSTEM]).unwrap();
    cluster.kubectl(&["scale", &deployment, "-n", SYSTEM, "--replicas=0"]).unwrap();
    cluster.kubectl(&["label", &config, "-n", SYSTEM, "app.kubernetes.io/managed-by-"]).unwrap();
    cluster
        .kubectl(&["delete", "networkpolicy", "-n", SYSTEM, "-l", &format!("tidepool.dev/mirror={MIRROR}")])
        .unwrap();
    let get = |object: &str| cluster.kubectl_json(&["get", object, "-n", SYSTEM]);
    let repaired = || {
        let label = format!("tidepool.dev/mirror={MIRROR}");
        let policies = cluster.kubectl(&["get", "networkpolicies", "-n", SYSTEM, "-l", &label, "-o", "name"])?;
        Ok(cluster.try_kubectl(&["get", &service, "-n", SYSTEM])?.success
            && get(&deployment)?["spec"]["replicas"] == 1
            && get(&config)?["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "tidepool-operator"
            && !policies.is_empty())
    };
    cluster.wait_until(SOON, "repair of what was changed", repaired).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
}

/// Pruning needs our label and our owner: somebody's object with the label alone is left.
fn a_foreign_secret_survives(cluster: &Cluster) {
    let ours = cluster.kubectl_json(&["get", "secret", &format!("mirror-{MIRROR}-config"), "-n", SYSTEM]).unwrap();
    let mut labels: Value = ours["metadata"]["labels"].clone();
    labels["app.kubernetes.io/component"] = json!("somebody");
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata":
        {"name": "mirror-reef-foreign", "namespace": SYSTEM, "labels": labels}});
    cluster.apply(&foreign.to_string()).unwrap();
    let pull = ["patch", "registrymirror", MIRROR, "--type=merge", "-p"];
    cluster.kubectl(&[&pull[..], &[r#"{"spec":{"upstreams":[{"registry":"docker.io"}]}}"#]].concat()).unwrap();
    let settled = || {
        let mirror = cluster.kubectl_json(&["get", "registrymirror", MIRROR])?;
        Ok(mirror["status"]["observedGeneration"] == mirror["metadata"]["generation"])
    };
    cluster.wait_until(SOON, "reconcile of the change", settled).unwrap();
    cluster.kubectl(&["get", "secret", "mirror-reef-foreign", "-n", SYSTEM]).expect("pruning needs our owner too");
    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let gone = || {
        let left =
            cluster.kubectl(&["get", "deployments,services,secrets", "-n", SYSTEM, "-l", &label, "-o", "name"])?;
        Ok(left.trim() == "secret/mirror-reef-foreign")
    };
    cluster.wait_until(SOON, "end of the mirror's own objects and of no other", gone).unwrap();
}
