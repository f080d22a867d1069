//! The probe pod. It meets Pod Security Standard `restricted`, and asks for next to nothing.

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, ResourceRequirements, Toleration},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use tidepool_api::MirrorNode;
use tidepool_config::names::PROBE_REGISTRY;

use crate::{
    names::{MANAGED_BY, MANAGED_BY_LABEL},
    plan::fingerprint,
    quantity::quantities,
    restricted,
};

/// Label of probe pods.
pub const PROBE_LABEL: &str = "tidepool.dev/probe";
/// The kubelet ends it after this long, should the operator be gone.
const DEADLINE_SECONDS: i64 = 120;

/// Its name: one a node, so that no node ever has two.
#[must_use]
pub fn probe_pod_name(node: &str) -> String {
    format!("probe-{}", fingerprint(node))
}

/// The pod that probes the node of `report`, in the operator's namespace. It goes with the node.
#[must_use]
pub fn probe_pod(report: &MirrorNode, namespace: &str) -> Pod {
    let node = report.metadata.name.clone().unwrap_or_default();
    let labels = [
        ("app.kubernetes.io/name", "tidepool"),
        ("app.kubernetes.io/component", "probe"),
        (MANAGED_BY_LABEL, MANAGED_BY),
        (PROBE_LABEL, "node"),
    ];
    let owner = OwnerReference {
        api_version: "tidepool.dev/v1alpha1".to_owned(),
        kind: "MirrorNode".to_owned(),
        name: node.clone(),
        uid: report.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(probe_pod_name(&node)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(node)),
        status: None,
    }
}

fn spec(node: String) -> PodSpec {
    PodSpec {
        // No scheduler: it is about this node, whatever its taints say.
        node_name: Some(node),
        tolerations: Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]),
        containers: vec![container()],
        restart_policy: Some("Never".to_owned()),
        active_deadline_seconds: Some(DEADLINE_SECONDS),
        termination_grace_period_seconds: Some(1),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(restricted::pod()),
        ..PodSpec::default()
    }
}

fn container() -> Container {
    Container {
        name: "probe".to_owned(),
        image: Some(format!("{PROBE_REGISTRY}/node:probe")),
        // What matters is that the runtime asks.
        image_pull_policy: Some("Always".to_owned()),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&[("cpu", "1m"), ("memory", "1Mi")])),
            // Below some ten MiB runtimes do not start a container.
            limits: Some(quantities(&[("cpu", "100m"), ("memory", "32Mi")])),
            claims: None,
        }),
        security_context: Some(restricted::container()),
        ..Container::default()
    }
}
