//! What guards the members: who reaches which port, and how many may be away at once.

use k8s_openapi::{
    api::{
        networking::v1::{
            NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use tidepool_config::names::{ADMIN_PORT, AGENTS_PORT, MEMBER_PORT};

use crate::names;

/// Labels of the operator's own pods, as its chart sets them.
const OPERATOR_LABELS: [(&str, &str); 2] =
    [("app.kubernetes.io/name", "tidepool"), ("app.kubernetes.io/component", "operator")];

/// Pulls may come from anywhere, for their ports know who asks. The admin port asks nobody: it is for the operator, and
/// for namespaces that were labelled for it. (Probes come from the node, which no policy keeps out.)
pub(super) fn network_policy(mirror: &str, metadata: ObjectMeta) -> NetworkPolicy {
    let operator = NetworkPolicyPeer { pod_selector: Some(labels(&OPERATOR_LABELS)), ..NetworkPolicyPeer::default() };
    let metrics = NetworkPolicyPeer {
        namespace_selector: Some(labels(&[(names::METRICS_LABEL, "true")])),
        ..NetworkPolicyPeer::default()
    };
    let pulls = NetworkPolicyIngressRule { from: None, ports: Some(vec![port(MEMBER_PORT), port(AGENTS_PORT)]) };
    let admin = NetworkPolicyIngressRule { from: Some(vec![operator, metrics]), ports: Some(vec![port(ADMIN_PORT)]) };
    let spec = NetworkPolicySpec {
        pod_selector: Some(members(mirror)),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![pulls, admin]),
        egress: None,
    };
    NetworkPolicy { metadata, spec: Some(spec) }
}

/// One member at a time may be evicted, and always one that does not serve anyway.
pub(super) fn budget(mirror: &str, metadata: ObjectMeta) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(members(mirror)),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata, spec: Some(spec), status: None }
}

fn port(number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

fn members(mirror: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(mirror)), match_expressions: None }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    let labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}
