//! Values: which are refused and with what words, and what the others make of the chart.

use serde::Deserialize;
use serde_json::Value;
use tidepool_tests::Cluster;

use crate::rendered::{chart, cluster, documents, object, render, table};

/// Values that are wrong, and what Helm must say to them.
#[derive(Deserialize)]
struct Refused {
    values: Value,
    says: Vec<String>,
}

/// Values that matter, and what they make of the chart.
#[derive(Deserialize)]
struct Case {
    name: String,
    values: Value,
    expect: Vec<Expected>,
}

/// What is expected at one place of one object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// `Kind/name`.
    object: String,
    /// JSON pointer; empty: the object itself.
    #[serde(default)]
    at: String,
    /// Its value.
    is: Option<Value>,
    /// An element of the list.
    has: Option<Value>,
    /// That nothing is there.
    #[serde(default)]
    absent: bool,
}

/// What is wrong at a place of the rendered chart, if anything.
fn fault(rendered: &[Value], expected: &Expected) -> Option<String> {
    let found = object(rendered, &expected.object).and_then(|object| object.pointer(&expected.at));
    let right = match (&expected.is, &expected.has) {
        _ if expected.absent => found.is_none(),
        (Some(is), None) => found == Some(is),
        (None, Some(has)) => found.and_then(Value::as_array).is_some_and(|list| list.contains(has)),
        _ => false,
    };
    let found = found.map_or("nothing".to_owned(), Value::to_string);
    (!right).then(|| format!("{} {}: found {found}", expected.object, expected.at))
}

/// What a real API server has against the rendered chart: unknown or wrong fields, and warnings, Pod Security's too.
fn objection(cluster: &Cluster, rendered: &str) -> Option<String> {
    let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors"];
    let answer = cluster.try_kubectl_with(&[&args[..], &["--force-conflicts", "-f", "-"]].concat(), rendered).unwrap();
    (!answer.success).then_some(answer.stderr)
}

/// Makes the namespaces of a rendered chart, without which a dry run finds no place for what is in them.
fn make_namespaces(cluster: &Cluster, rendered: &[Value]) {
    for namespace in rendered.iter().filter(|object| object["kind"] == "Namespace") {
        cluster.try_kubectl_with(&["apply", "--server-side", "-f", "-"], &namespace.to_string()).unwrap().ok().unwrap();
    }
}

#[test]
fn lint_finds_nothing() {
    let Some(cluster) = cluster() else { return };
    let found = cluster.helm(&["lint", "--strict", &chart()]).unwrap();
    assert!(found.contains("0 chart(s) failed") && !found.contains("WARNING"), "{found}");
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(cluster) = cluster() else { return };
    let refused: Vec<Refused> = table("refused.yaml");
    assert!(refused.len() >= 20, "{} cases were read", refused.len());
    for case in refused {
        let error = match render(cluster, &case.values) {
            Ok(_) => panic!("{} is not refused", case.values),
            Err(error) => format!("{error:#}"),
        };
        for words in &case.says {
            assert!(error.contains(words), "{}: expected {words:?}, found {error}", case.values);
        }
    }
}

#[test]
fn values_have_their_effect_and_the_api_server_takes_all_they_make() {
    let Some(cluster) = cluster() else { return };
    let cases: Vec<Case> = table("cases.yaml");
    assert!(cases.len() >= 12, "{} cases were read", cases.len());
    let mut faults = Vec::new();
    for case in &cases {
        let text = render(cluster, &case.values).unwrap();
        let rendered: Vec<Value> = documents(&text);
        make_namespaces(cluster, &rendered);
        let wrong = case.expect.iter().filter_map(|expected| fault(&rendered, expected));
        faults.extend(wrong.chain(objection(cluster, &text)).map(|fault| format!("{}: {fault}", case.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_manifest_for_cleaning_up_by_hand_applies_too() {
    let Some(cluster) = cluster() else { return };
    let text = std::fs::read_to_string(format!("{}/cleanup.yaml", chart())).unwrap();
    make_namespaces(cluster, &documents(&text));
    assert_eq!(objection(cluster, &text), None);
}

#[test]
fn notes_name_everything_that_an_uninstall_leaves() {
    let Some(cluster) = cluster() else { return };
    let notes = |values: &str| {
        let args = ["install", "tidepool", &chart(), "-n", "default", "--dry-run=client", "--set-json", values];
        let shown = cluster.helm(&args).unwrap();
        shown.split("NOTES:").nth(1).expect("notes").to_owned()
    };
    let usual = notes("{}");
    let leaves = ["delete crd registrymirrors", "pvc -n default", "secret/tidepool-authority lease/tidepool-operator"];
    for word in ["upstreams: [{registry: docker.io}", "enforce=restricted", "cleanup.yaml"].iter().chain(&leaves) {
        assert!(usual.contains(word), "no {word:?} in {usual}");
    }
    assert!(!usual.contains("tidepool-agent-identity"), "it goes with the namespace: {usual}");
    let own = notes(r#"{"agent": {"createNamespace": false}, "crds": {"keep": false}}"#);
    assert!(own.contains("configmap/tidepool-nodes secret/tidepool-agent-identity -n tidepool-agents"), "{own}");
    assert!(!own.contains("delete crd"), "{own}");
}
