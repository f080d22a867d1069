//! `kubectl explain`: a person at a prompt learns of every field what it is, its default, and an example.

use std::collections::BTreeSet;

use serde_json::Value;
use tidepool_tests::Cluster;

use crate::rendered::installed;

/// Fields of Kubernetes' own types, which it explains in its own words.
const OF_KUBERNETES: [&str; 3] = ["resources", "tolerations", "topologySpreadConstraints"];

/// Every field below a schema, by its path for `kubectl explain`, and whether it is required.
fn fields(path: &str, schema: &Value, found: &mut Vec<(String, bool)>) {
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), required.contains(name.as_str())));
        if !OF_KUBERNETES.contains(&name.as_str()) {
            fields(&path, field, found);
            fields(&path, &field["items"], found);
        }
    }
}

/// What `kubectl explain` says of a field itself, in one line.
fn explained(cluster: &Cluster, path: &str) -> String {
    let text = cluster.kubectl(&["explain", path]).unwrap();
    let description = text.split("DESCRIPTION:").nth(1).unwrap_or_default();
    let description = description.split("\nFIELDS:").next().unwrap_or_default();
    description.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The schema of a definition, as the API server has it.
fn schema(cluster: &Cluster, definition: &str) -> Value {
    let definition = cluster.kubectl_json(&["get", "crd", definition]).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clone()
}

#[test]
fn every_field_of_a_spec_has_its_meaning_default_and_an_example() {
    let Some(cluster) = installed() else { return };
    let mut spec = Vec::new();
    fields("registrymirror.spec", &schema(cluster, "registrymirrors.tidepool.dev")["spec"], &mut spec);
    assert!(spec.len() >= 30, "{} fields were found", spec.len());
    let fault = |(path, required): &(String, bool)| {
        let text = explained(cluster, path);
        let whole = (*required || text.contains("Default: ")) && text.contains("Example");
        (!whole).then(|| format!("{path}: {text}"))
    };
    let faults: Vec<String> = spec.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_field_of_a_status_has_its_meaning() {
    let Some(cluster) = installed() else { return };
    let mut status = Vec::new();
    for (kind, definition) in
        [("registrymirror", "registrymirrors.tidepool.dev"), ("mirrornode", "mirrornodes.tidepool.dev")]
    {
        fields(&format!("{kind}.status"), &schema(cluster, definition)["status"], &mut status);
    }
    assert!(status.len() >= 30, "{} fields were found", status.len());
    let bare = |(path, _): &&(String, bool)| explained(cluster, path).len() < 8;
    let bare: Vec<&(String, bool)> = status.iter().filter(bare).collect();
    assert!(bare.is_empty(), "{bare:?}");
}
