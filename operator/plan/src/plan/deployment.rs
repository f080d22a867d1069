//! Members as Deployments.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    api::core::v1::PodTemplateSpec,
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use tidepool_config::names::MIRROR_LABEL;

use super::{Defaults, pod};
use crate::{ValidMirror, ValidStorage, names};

/// How long a member must be ready until the next may go: by then all agents know where it is.
const SETTLED_SECONDS: i32 = 5;

/// The Deployment of a member with a volume, or of all without. Nothing of their configuration is in the pod's template:
/// members read a change themselves. Nor is how many there are: one more restarts none.
pub(super) fn deployment(mirror: &ValidMirror, member: &str, defaults: &Defaults, meta: ObjectMeta) -> Deployment {
    let mut labels = names::labels(&mirror.name);
    labels.insert(names::MEMBER_LABEL.to_owned(), member.to_owned());
    let selector = labels.iter().filter(|(key, _)| [MIRROR_LABEL, names::MEMBER_LABEL].contains(&key.as_str()));
    let selector: BTreeMap<_, _> = selector.map(|(key, value)| (key.clone(), value.clone())).collect();
    let annotations = Some(mirror.proxy.pod_annotations.clone()).filter(|annotations| !annotations.is_empty());
    let metadata = ObjectMeta { labels: Some(labels.clone()), annotations, ..ObjectMeta::default() };
    let spec = DeploymentSpec {
        replicas: Some(replicas(mirror)),
        min_ready_seconds: Some(SETTLED_SECONDS),
        // The template before is enough to go back to; each one more is an object that nobody looks at.
        revision_history_limit: Some(1),
        strategy: Some(strategy(&mirror.storage)),
        selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
        template: PodTemplateSpec { metadata: Some(metadata), spec: Some(pod::pod_spec(mirror, member, defaults)) },
        ..DeploymentSpec::default()
    };
    Deployment { metadata: ObjectMeta { labels: Some(labels), ..meta }, spec: Some(spec), status: None }
}

fn replicas(mirror: &ValidMirror) -> i32 {
    match &mirror.storage {
        ValidStorage::Volume { .. } => 1,
        ValidStorage::Ephemeral { .. } => mirror.replicas,
    }
}

fn strategy(storage: &ValidStorage) -> DeploymentStrategy {
    match storage {
        // Two pods must never write one store.
        ValidStorage::Volume { .. } => DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None },
        ValidStorage::Ephemeral { .. } => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
    }
}
