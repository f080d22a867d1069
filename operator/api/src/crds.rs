//! The definitions of the resources, as files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::{MirrorNode, RegistryMirror};

const HEADER: &str = "# Generated from operator/api by `make generate`; do not edit.\n";
const CHART_IF: &str = "{{- if .Values.crds.enabled }}\n";
const CHART_END: &str = "{{- end }}\n";
const METADATA: &str = "\nmetadata:\n";
const CHART_METADATA: &str = "
metadata:
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
";

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrdFile {
    /// Its name, such as `tidepool.dev_registrymirrors.yaml`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All definitions.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![MirrorNode::crd(), RegistryMirror::crd()]
}

/// The definitions as `kubectl apply` takes them.
///
/// # Errors
/// When a definition cannot be written as YAML, which would be a defect here.
pub fn files() -> Result<Vec<CrdFile>, serde_yaml::Error> {
    all().iter().map(|crd| Ok(CrdFile { name: file_name(crd), text: yaml(crd)? })).collect()
}

/// The definitions as templates of the chart, where values say whether they are installed and kept.
///
/// # Errors
/// As [`files`].
pub fn chart_templates() -> Result<Vec<CrdFile>, serde_yaml::Error> {
    let template = |file: CrdFile| CrdFile { text: chart_template(&file.text), ..file };
    Ok(files()?.into_iter().map(template).collect())
}

fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    let mut crd = serde_yaml::to_value(crd)?;
    unwrap_descriptions(&mut crd);
    Ok(format!("{HEADER}{}", serde_yaml::to_string(&crd)?))
}

/// Joins the lines of each paragraph: `kubectl explain` wraps them to the width of the terminal.
fn unwrap_descriptions(value: &mut serde_yaml::Value) {
    match value {
        serde_yaml::Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    serde_yaml::Value::String(text) if key.as_str() == Some("description") => {
                        let paragraphs: Vec<_> = text.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
                        *text = paragraphs.join("\n\n");
                    }
                    other => unwrap_descriptions(other),
                }
            }
        }
        serde_yaml::Value::Sequence(items) => items.iter_mut().for_each(unwrap_descriptions),
        serde_yaml::Value::Tagged(_)
        | serde_yaml::Value::Null
        | serde_yaml::Value::Bool(_)
        | serde_yaml::Value::Number(_)
        | serde_yaml::Value::String(_) => {}
    }
}

fn chart_template(text: &str) -> String {
    // Only the first: the schema, below, has properties of that name.
    format!("{CHART_IF}{}{CHART_END}", text.replacen(METADATA, CHART_METADATA, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_ours_is_taken_for_a_template_by_helm() {
        for file in files().unwrap() {
            assert!(!file.text.contains("{{"), "{}", file.name);
        }
    }

    #[test]
    fn client_side_apply_can_take_them() {
        // It keeps the whole object in an annotation, and annotations end at 256 KiB.
        for file in files().unwrap() {
            assert!(file.text.len() < 150_000, "{}: {} bytes", file.name, file.text.len());
        }
    }

    /// Kubernetes' own types, which carry its own texts.
    const FOREIGN: [&str; 3] = [".proxy.resources", ".proxy.tolerations", ".proxy.topologySpreadConstraints"];

    /// What fields below `path` lack of: meaning, default (unless required), example.
    fn unexplained(path: &str, schema: &serde_json::Value, found: &mut Vec<String>) {
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let text = property["description"].as_str().unwrap_or_default();
            let default = text.contains("Default: ") || required.iter().any(|it| it.as_str() == Some(name));
            if !default || !text.contains("Example") {
                found.push(path.clone());
            }
            if !FOREIGN.contains(&path.as_str()) {
                unexplained(&path, property, found);
                unexplained(&format!("{path}[]"), &property["items"], found);
            }
        }
    }

    #[test]
    fn every_field_of_a_spec_tells_its_default_and_an_example() {
        let crd = serde_json::to_value(RegistryMirror::crd()).unwrap();
        let mut found = Vec::new();
        unexplained("", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], &mut found);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn every_field_says_what_it_is() {
        fn walk(path: &str, schema: &serde_json::Value, bare: &mut Vec<String>) {
            let properties = schema["properties"].as_object().into_iter().flatten();
            for (name, property) in properties {
                let path = format!("{path}.{name}");
                // `spec` and `status` carry the text of their types; Kubernetes' own types carry theirs.
                if property["description"].as_str().is_none_or(str::is_empty) && path != ".metadata" {
                    bare.push(path.clone());
                }
                walk(&path, property, bare);
                walk(&path, &property["items"], bare);
            }
        }
        for crd in all() {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let mut bare = Vec::new();
            walk("", &schema["openAPIV3Schema"], &mut bare);
            assert!(bare.is_empty(), "{}: {bare:?}", crd.spec.names.kind);
        }
    }
}
