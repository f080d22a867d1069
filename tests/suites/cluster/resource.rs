//! The resource on a real API server: every rule, every example, and what `kubectl explain` says.

use serde::Deserialize;
use serde_json::Value;
use tidepool_tests::{Cluster, repository};

use crate::installed::{SYSTEM, any_cluster};

#[derive(Deserialize)]
struct Case {
    name: String,
    expect: String,
    #[serde(default)]
    old: Option<Value>,
    object: Value,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(repository().join("operator/api/tests/cases/registry_mirror.yaml")).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Case::deserialize(document).unwrap()).collect()
}

/// Deletes what a test made; nothing else, since the cluster may be somebody's.
fn delete(cluster: &Cluster, manifests: &str) {
    let deleted = cluster.try_kubectl_with(&["delete", "--timeout=180s", "-f", "-"], manifests).unwrap();
    assert!(deleted.success, "{}", deleted.stderr);
}

/// What is wrong with how the API server takes a case, if anything.
fn fault(cluster: &Cluster, case: &Case) -> Option<String> {
    let answer = match &case.old {
        None => cluster.try_kubectl_with(&["create", "--dry-run=server", "-f", "-"], &case.object.to_string()),
        Some(old) => {
            cluster.apply(&old.to_string()).unwrap();
            let answer =
                cluster.try_kubectl_with(&["replace", "--dry-run=server", "-f", "-"], &case.object.to_string());
            delete(cluster, &old.to_string());
            answer
        }
    };
    let answer = answer.unwrap();
    let right =
        if case.expect == "accept" { answer.success } else { !answer.success && answer.stderr.contains(&case.expect) };
    (!right).then(|| format!("{}: expected {:?}, found {}{}", case.name, case.expect, answer.stdout, answer.stderr))
}

fn examples() -> Vec<String> {
    let files = std::fs::read_dir(repository().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(!examples.is_empty(), "there are examples");
    examples
}

#[test]
fn the_api_server_takes_the_good_refuses_the_bad_with_its_message_and_explains_itself() {
    let Some(cluster) = any_cluster(1) else { return };
    let crds = repository().join("crds");
    let applied = cluster
        .try_kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--warnings-as-errors",
            "-f",
            crds.to_str().unwrap(),
        ])
        .unwrap();
    assert!(applied.success, "definitions apply without a warning: {}", applied.stderr);
    cluster
        .kubectl(&["wait", "--for=condition=Established", "crd", "registrymirrors.tidepool.dev", "--timeout=180s"])
        .unwrap();

    let cases = cases();
    assert!(cases.len() >= 40, "{} cases were read", cases.len());
    let unseen = cluster
        .try_kubectl_with(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &cases[0].object.to_string());
    let unseen: Value = serde_json::from_str(&unseen.unwrap().stdout).unwrap();
    assert_eq!(
        unseen["status"]["conditions"][0]["status"], "Unknown",
        "a mirror that no operator has seen is not ready"
    );
    let faults: Vec<String> = cases.iter().filter_map(|case| fault(&cluster, case)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {SYSTEM}}}}}");
    cluster.apply(&namespace).unwrap();
    for example in examples() {
        cluster.apply(&example).expect("an example applies as it is");
        let table = cluster.kubectl(&["get", "registrymirrors"]).unwrap();
        assert!(["READY", "REASON", "UPSTREAMS", "NODES"].iter().all(|column| table.contains(column)), "{table}");
        delete(&cluster, &example);
    }

    for field in ["spec", "spec.upstreams.registry", "spec.storage.volume.size", "spec.nodes.mode", "status.conditions"]
    {
        let text = cluster.kubectl(&["explain", &format!("registrymirror.{field}")]).unwrap();
        let description = text.split("DESCRIPTION:").nth(1).unwrap_or_default();
        assert!(description.trim().len() > 20 && !description.contains("<empty>"), "explain {field}: {text}");
    }
}
