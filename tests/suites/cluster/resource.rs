//! The resource on a real API server: every rule, every example, and what `kubectl explain` says.

use serde::Deserialize;
use serde_json::Value;
use tidepool_tests::{Cluster, repository};

use crate::installed::cluster;

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

/// What is wrong with how the API server takes a case, if anything.
fn fault(cluster: &Cluster, case: &Case) -> Option<String> {
    let answer = match &case.old {
        None => cluster.try_kubectl_with(&["create", "--dry-run=server", "-f", "-"], &case.object.to_string()),
        Some(old) => {
            cluster.apply(&old.to_string()).unwrap();
            let answer =
                cluster.try_kubectl_with(&["replace", "--dry-run=server", "-f", "-"], &case.object.to_string());
            cluster.kubectl(&["delete", "registrymirrors", "--all", "--timeout=30s"]).unwrap();
            answer
        }
    };
    let answer = answer.unwrap();
    let right =
        if case.expect == "accept" { answer.success } else { !answer.success && answer.stderr.contains(&case.expect) };
    (!right).then(|| format!("{}: expected {:?}, found {}{}", case.name, case.expect, answer.stdout, answer.stderr))
}

#[test]
fn the_api_server_takes_the_good_refuses_the_bad_with_its_message_and_explains_itself() {
    let Some(cluster) = cluster(1) else { return };
    let crds = repository().join("crds");
    let applied = cluster.try_kubectl(&["apply", "--warnings-as-errors", "-f", crds.to_str().unwrap()]).unwrap();
    assert!(applied.success, "definitions apply without a warning: {}", applied.stderr);
    cluster
        .kubectl(&["wait", "--for=condition=Established", "crd", "registrymirrors.tidepool.dev", "--timeout=30s"])
        .unwrap();

    let cases = cases();
    assert!(cases.len() >= 40, "{} cases were read", cases.len());
    let faults: Vec<String> = cases.iter().filter_map(|case| fault(&cluster, case)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    cluster.kubectl(&["create", "namespace", "tidepool-system"]).unwrap();
    let examples = std::fs::read_dir(repository().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    for example in examples.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        cluster.kubectl(&["apply", "-f", example.to_str().unwrap()]).expect("an example applies as it is");
    }
    let table = cluster.kubectl(&["get", "registrymirrors"]).unwrap();
    assert!(
        table.starts_with("NAME") && ["READY", "REASON", "UPSTREAMS", "NODES"].iter().all(|c| table.contains(c)),
        "{table}"
    );
    let ready =
        cluster.kubectl(&["get", "registrymirrors", "-o", "jsonpath={.items[0].status.conditions[0].status}"]).unwrap();
    assert_eq!(ready, "Unknown", "a mirror that no operator has seen is not ready");

    for field in ["spec", "spec.upstreams.registry", "spec.storage.volume.size", "spec.nodes.mode", "status.conditions"]
    {
        let text = cluster.kubectl(&["explain", &format!("registrymirror.{field}")]).unwrap();
        let description = text.split("DESCRIPTION:").nth(1).unwrap_or_default();
        assert!(description.trim().len() > 20 && !description.contains("<empty>"), "explain {field}: {text}");
    }
}
