//! Whether the agent's DaemonSet puts a pod on a node: selector, required affinity and taints, as Kubernetes reads them.
//! Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// Taints that every DaemonSet's pods on the host network tolerate, whatever their template says.
const TOLERATED_BY_ALL: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// Whether a DaemonSet with this pod template puts a pod on the node. What is not understood counts as a yes.
#[must_use]
pub fn belongs(pod: &PodSpec, node: &Node) -> bool {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let selector = pod.node_selector.as_ref().unwrap_or(&none);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && is_affine(pod, node, labels)
        && taints.iter().all(|taint| bears(taint, tolerations))
}

/// Whether one of the terms of the required affinity, if there are any, fits.
fn is_affine(pod: &PodSpec, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required else { return true };
    let name = node.metadata.name.iter().map(|name| ("metadata.name".to_owned(), name.clone())).collect();
    required.node_selector_terms.iter().any(|term| fits(term, labels, &name))
}

/// Whether all that a term asks for is so; an empty one fits no node.
fn fits(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, fields: &BTreeMap<String, String>) -> bool {
    let (expressions, of_fields) = (&term.match_expressions, &term.match_fields);
    let (expressions, of_fields) =
        (expressions.as_deref().unwrap_or_default(), of_fields.as_deref().unwrap_or_default());
    (!expressions.is_empty() || !of_fields.is_empty())
        && expressions.iter().all(|requirement| is_met(requirement, labels))
        && of_fields.iter().all(|requirement| is_met(requirement, fields))
}

fn is_met(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let label = labels.get(&requirement.key);
    let among = || label.is_some_and(|label| values.contains(label));
    let numbers = || {
        let limit: i64 = values.first()?.parse().ok()?;
        Some((label?.parse::<i64>().ok()?, limit))
    };
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => numbers().is_some_and(|(is, limit)| is > limit),
        "Lt" => numbers().is_some_and(|(is, limit)| is < limit),
        _ => true,
    }
}

/// Whether pods with these tolerations are put on a node with this taint.
fn bears(taint: &Taint, tolerations: &[Toleration]) -> bool {
    let of_all = TOLERATED_BY_ALL.contains(&(taint.key.as_str(), taint.effect.as_str()));
    taint.effect == "PreferNoSchedule" || of_all || tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    let (effect, key) = (effect.is_empty() || effect == taint.effect, key.is_empty() || key == taint.key);
    let value = match toleration.operator.as_deref() {
        None | Some("" | "Equal") => text(&toleration.value) == text(&taint.value),
        Some(_) => true,
    };
    effect && key && value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> Node {
        let node = json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
            "spec": {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]},
        });
        serde_json::from_value(node).unwrap()
    }

    fn template(mut pod: Value) -> PodSpec {
        pod["containers"] = json!([]);
        serde_json::from_value(pod).unwrap()
    }

    fn affinity(terms: &Value) -> PodSpec {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        template(json!({"affinity": {"nodeAffinity": required}}))
    }

    /// Whether a pod belongs whose affinity asks this of one label.
    fn asked(key: &str, operator: &str, values: &[&str]) -> bool {
        let asked = json!({"key": key, "operator": operator, "values": values});
        belongs(&affinity(&json!([{"matchExpressions": [asked]}])), &node())
    }

    #[test]
    fn a_selector_asks_for_each_of_its_labels() {
        assert!(belongs(&template(json!({})), &node()));
        assert!(belongs(&template(json!({"nodeSelector": {"zone": "a"}})), &node()));
        assert!(!belongs(&template(json!({"nodeSelector": {"zone": "a", "rack": "1"}})), &node()));
    }

    #[test]
    fn each_operator_of_an_affinity_is_read_as_kubernetes_does() {
        assert!(asked("zone", "In", &["b", "a"]) && !asked("zone", "In", &["b"]) && !asked("rack", "In", &["1"]));
        assert!(asked("zone", "NotIn", &["b"]) && !asked("zone", "NotIn", &["a"]) && asked("rack", "NotIn", &["1"]));
        assert!(asked("zone", "Exists", &[]) && !asked("rack", "Exists", &[]));
        assert!(asked("rack", "DoesNotExist", &[]) && !asked("zone", "DoesNotExist", &[]));
        assert!(asked("cores", "Gt", &["4"]) && !asked("cores", "Gt", &["8"]) && !asked("zone", "Gt", &["4"]));
        assert!(asked("cores", "Lt", &["9"]) && !asked("cores", "Lt", &["8"]));
        assert!(asked("zone", "OfALaterRelease", &[]));
    }

    #[test]
    fn one_term_is_enough_all_of_it_must_hold_and_an_empty_one_is_none() {
        let (here, elsewhere) = (
            json!({"key": "zone", "operator": "In", "values": ["a"]}),
            json!({"key": "zone", "operator": "In", "values": ["b"]}),
        );
        let of = |terms: Value| belongs(&affinity(&terms), &node());
        assert!(of(json!([{"matchExpressions": [elsewhere]}, {"matchExpressions": [here]}])));
        assert!(!of(json!([{"matchExpressions": [here, elsewhere]}])) && !of(json!([{}])) && !of(json!([])));
        let named =
            |name: &str| json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]);
        assert!(of(named("n1")) && !of(named("n2")));
    }

    #[test]
    fn a_taint_keeps_out_pods_that_do_not_tolerate_it() {
        let with = |effect: &str, tolerations: Value| {
            let mut node = node();
            let taint = json!({"key": "gpu", "value": "only", "effect": effect});
            node.spec.as_mut().unwrap().taints.as_mut().unwrap().push(serde_json::from_value(taint).unwrap());
            belongs(&template(json!({"tolerations": tolerations})), &node)
        };
        for effect in ["NoSchedule", "NoExecute"] {
            assert!(!with(effect, json!([])));
            assert!(with(effect, json!([{"operator": "Exists"}])));
            assert!(with(effect, json!([{"key": "gpu", "operator": "Exists", "effect": effect}])));
            assert!(with(effect, json!([{"key": "gpu", "value": "only"}])));
            assert!(!with(effect, json!([{"key": "gpu", "value": "other"}])));
            assert!(!with(effect, json!([{"key": "gpu", "operator": "Exists", "effect": "PreferNoSchedule"}])));
        }
        assert!(with("PreferNoSchedule", json!([])));
    }
}
