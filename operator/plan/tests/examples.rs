//! Every file in `examples/` is read, validated and planned, beside the ConfigMaps and Secrets it brings along.

#![cfg(test)]

use std::{fs, path::PathBuf};

use serde::Deserialize as _;
use serde_json::Value;
use tidepool_api::{CaKind, RegistryMirror};
use tidepool_plan::{Defaults, Identity, Referenced, Source, plan, validate};

fn documents(path: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// What the documents bring for references to find.
fn referenced(documents: &[Value]) -> Referenced {
    let source = |object: &Value| {
        let (kind, data) = match object["kind"].as_str()? {
            "ConfigMap" => (CaKind::ConfigMap, &object["data"]),
            "Secret" => (CaKind::Secret, &object["stringData"]),
            _ => return None,
        };
        assert_eq!(object["metadata"]["namespace"], "tidepool-system", "references are looked up there");
        let data = data.as_object().unwrap().iter();
        let data = data.map(|(key, text)| (key.clone(), text.as_str().unwrap().as_bytes().to_vec())).collect();
        Some(((kind, object["metadata"]["name"].as_str().unwrap().to_owned()), Source { data, ours: false }))
    };
    Referenced { sources: documents.iter().filter_map(source).collect(), ..Referenced::default() }
}

/// Fields of the file that the type does not know, which the API server would drop.
fn unknown(path: &str, written: &Value, read: &Value, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let path = format!("{path}.{key}");
                match read.get(key) {
                    Some(read) => unknown(&path, value, read, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            written.iter().zip(read).for_each(|(written, read)| unknown(path, written, read, found));
        }
        (written, read) if written == read => {}
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_example_is_valid_and_has_a_plan() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let defaults = Defaults {
        image: "i".into(),
        pull_policy: "Never".into(),
        namespace: "tidepool-system".into(),
        log_level: None,
    };
    let mut mirrors = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let documents = documents(&path);
        for document in documents.iter().filter(|document| document["kind"] == "RegistryMirror") {
            let mirror: RegistryMirror = serde_json::from_value(document.clone()).unwrap();
            let mut lost = Vec::new();
            unknown("", document, &serde_json::to_value(&mirror).unwrap(), &mut lost);
            assert!(lost.is_empty(), "{}: {lost:?}", path.display());
            let valid =
                validate(&mirror, &referenced(&documents)).unwrap_or_else(|faults| panic!("{path:?}: {faults:?}"));
            plan(&valid, &Identity::default(), &defaults).unwrap();
            mirrors += 1;
        }
    }
    assert!(mirrors >= 8);
}
