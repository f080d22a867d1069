//! The chart agrees with the programs, and explains itself. What it renders is `tests/suites/chart.rs`.

#![cfg(test)]

use std::{fs, path::PathBuf};

use serde_yaml::Value;
use tidepool_config::{
    names::{AGENT_PORT, NODES_CONFIG_MAP},
    trust::AGENT_SECRET,
};

fn read(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/tidepool").join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap()
}

#[test]
fn versions_and_names_are_those_of_the_programs() {
    let chart = yaml("Chart.yaml");
    assert_eq!(chart["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(chart["appVersion"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    let values = yaml("values.yaml");
    assert_eq!(values["agent"]["port"].as_u64(), Some(u64::from(AGENT_PORT)));
    let image = format!("{}:{}", values["image"]["repository"].as_str().unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(read("cleanup.yaml").matches(&format!("image: {image}\n")).count(), 2);
    for template in ["agent-rbac.yaml", "operator-rbac.yaml"] {
        for name in [NODES_CONFIG_MAP, AGENT_SECRET] {
            assert!(read(&format!("templates/{template}")).contains(&format!("resourceNames: [{name}]")), "{name}");
        }
    }
}

#[test]
fn every_value_has_a_comment() {
    let text = read("values.yaml");
    let lines: Vec<_> = text.lines().collect();
    // Keys of the first two levels are values; what is deeper is Kubernetes' own.
    let is_key = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        indent <= 2 && line.trim_start().chars().next().is_some_and(char::is_alphabetic) && line.contains(':')
    };
    let bare: Vec<_> = (1..lines.len())
        .filter(|&at| is_key(lines[at]) && !lines[at - 1].trim_start().starts_with('#'))
        .map(|at| lines[at])
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
}

fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<_> =
        value.as_mapping().into_iter().flatten().map(|(key, _)| key.as_str().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

/// Holds values against a schema that lists them; where it says `$ref` or nothing, they are Kubernetes' own.
fn assert_known(path: &str, values: &Value, schema: &Value) {
    let known = &schema["properties"];
    if known.is_null() {
        return;
    }
    let mut listed = keys(known);
    // Helm's own, and old names, which are understood and no longer shown.
    listed.retain(|key| key != "global" && known[key]["deprecated"] != true);
    assert_eq!(keys(values), listed, "{path}");
    // SELinux's options are Kubernetes' own too, and few enough for the schema to list them.
    for key in listed.iter().filter(|key| *key != "seLinuxOptions") {
        assert_known(key, &values[key], &known[key]);
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let schema = serde_yaml::from_str(&read("values.schema.json")).unwrap();
    assert_known("", &yaml("values.yaml"), &schema);
}
