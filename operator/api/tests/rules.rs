//! The rules on RegistryMirror, evaluated in process on the cases that the cluster suite tries on a real API server.

#![cfg(test)]

use kube::{CustomResourceExt as _, core::cel::Validator};
use serde::Deserialize as _;
use serde_json::Value;
use tidepool_api::RegistryMirror;

const CASES: &str = include_str!("cases/registry_mirror.yaml");

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    expect: String,
    by: String,
    #[serde(default)]
    old: Option<Value>,
    object: Value,
}

fn cases() -> Vec<Case> {
    serde_yaml::Deserializer::from_str(CASES).map(|document| Case::deserialize(document).unwrap()).collect()
}

/// The object as the API server sees it when it evaluates rules: with defaults.
fn defaulted(object: &Value) -> Value {
    let mirror: RegistryMirror = serde_json::from_value(object.clone()).unwrap();
    serde_json::to_value(mirror).unwrap()
}

#[test]
fn every_rule_accepts_the_good_and_refuses_the_bad_with_its_message() {
    let schema = RegistryMirror::crd().spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let schema = serde_json::to_value(schema).unwrap();
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.by == "rule") {
        let old = case.old.as_ref().map(defaulted);
        let found = match Validator::new().validate(&schema, &defaulted(&case.object), old.as_ref()) {
            Ok(()) => "accept".to_owned(),
            Err(errors) => errors.to_string(),
        };
        if (case.expect == "accept") != (found == "accept") || !found.contains(&case.expect) {
            wrong.push(format!("{}: expected {:?}, found {found:?}", case.name, case.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn case_names_tell_the_cases_apart() {
    let mut names: Vec<_> = cases().into_iter().map(|case| case.name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}
