//! The chart agrees with the programs, and explains itself.

#![cfg(test)]

use std::{fs, path::PathBuf};

use serde_yaml::Value;
use tidepool_config::names::{AGENT_PORT, NODES_CONFIG_MAP};

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
        assert!(read(&format!("templates/{template}")).contains(&format!("resourceNames: [{NODES_CONFIG_MAP}]")));
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

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let (values, schema): (Value, Value) =
        (yaml("values.yaml"), serde_yaml::from_str(&read("values.schema.json")).unwrap());
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    };
    for (part, value) in values.as_mapping().unwrap() {
        assert_eq!(keys(value), keys(&schema["properties"][part]["properties"]), "{part:?}");
    }
    let mut parts = keys(&schema["properties"]);
    parts.retain(|part| part != "global");
    assert_eq!(parts, keys(&values));
}

#[test]
fn what_would_break_an_installation_is_refused_before_it() {
    let schema: Value = serde_yaml::from_str(&read("values.schema.json")).unwrap();
    let most = &schema["properties"]["agent"]["properties"]["maxUnavailable"];
    // With nothing to spare, no agent would ever be replaced.
    assert_eq!((most["minimum"].as_u64(), most["pattern"].as_str()), (Some(1), Some("^[1-9][0-9]*%?$")));
    assert!(read("templates/agent.yaml").contains("{{- if eq $agent.namespace .Release.Namespace }}\n{{- fail "));
}

#[test]
fn free_text_is_quoted() {
    for template in ["agent.yaml", "operator.yaml"] {
        let text = read(&format!("templates/{template}"));
        let free = ["hostPath: {path: {{", "priorityClassName: {{", "priorityClassName }}", "Dir }}", "image\" . }}"];
        let bare: Vec<_> = text.lines().filter(|line| free.iter().any(|mark| line.contains(mark))).collect();
        assert!(bare.iter().all(|line| line.contains("| quote") || line.trim_start().starts_with("{{-")), "{bare:#?}");
    }
}

#[test]
fn the_operator_may_not_delete_what_it_never_deletes() {
    let text = read("templates/operator-rbac.yaml");
    let (_, document) = text.split_once("resourceNames: [tidepool-nodes]").unwrap();
    assert!(document.lines().nth(1).unwrap().trim() == "verbs: [get, list, watch, patch]");
    assert!(read("templates/NOTES.txt").contains("configmap -n {{ .Values.agent.namespace }} tidepool-nodes"));
}
