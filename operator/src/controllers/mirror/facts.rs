//! Facts that a mirror's status is made of, drawn from live objects.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use tidepool_api::{RegistryMirror, StorageType};
use tidepool_plan::{
    ClaimFound, ClaimState, MemberFact, NodeFact, StorageFact, Tally, Told,
    names::{self, MEMBER_LABEL},
    replicas, tally,
};

use super::observe::{self, is_owned};
use crate::{
    caches::of_mirror,
    context::Context,
    controllers::nodes::published,
    resources::{label, name},
    rollouts::is_rolling,
};

/// What is so of the members whose Deployments are these, and of the former ones that serve still.
pub(super) fn members(
    context: &Context,
    mirror: &RegistryMirror,
    deployments: &[Deployment],
    former: &[Deployment],
) -> Vec<MemberFact> {
    let pods = of_mirror(&context.caches.pods, name(mirror));
    let of = |deployment: &Deployment| {
        let member = label(deployment, MEMBER_LABEL).map(str::to_owned);
        let pods = pods.iter().filter(|pod| label(&***pod, MEMBER_LABEL).map(str::to_owned) == member);
        let alive: Vec<_> = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        MemberFact {
            unschedulable: alive.iter().find_map(|pod| unschedulable(pod)),
            trouble: alive.iter().find_map(|pod| trouble(pod)),
            ..deployment_fact(deployment)
        }
    };
    deployments.iter().map(of).chain(former.iter().map(former_fact)).collect()
}

/// None of its pods is wanted: nothing is missing where one is not ready.
fn former_fact(deployment: &Deployment) -> MemberFact {
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    MemberFact { name: name(deployment).to_owned(), ready, former: true, ..MemberFact::default() }
}

fn deployment_fact(deployment: &Deployment) -> MemberFact {
    let spec = deployment.spec.clone().unwrap_or_default();
    let status = deployment.status.clone().unwrap_or_default();
    let desired = spec.replicas.unwrap_or(1);
    let seen = status.observed_generation == deployment.metadata.generation;
    let ready = status.ready_replicas.unwrap_or_default();
    let updated = status.updated_replicas.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let refused = conditions.into_iter().find(|found| found.type_ == "ReplicaFailure" && found.status == "True");
    let containers = spec.template.spec.map(|pod| pod.containers).unwrap_or_default();
    MemberFact {
        name: name(deployment).to_owned(),
        desired,
        former: false,
        ready,
        rolled_out: !is_rolling(deployment),
        starting: !seen || updated < desired || ready < desired,
        image: containers.into_iter().next().and_then(|container| container.image),
        refused: refused.map(|condition| condition.message.or(condition.reason).unwrap_or_default()),
        unschedulable: None,
        trouble: None,
    }
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(found.message.clone().unwrap_or_default())
}

/// Why a container waits, other than that it is being made.
fn trouble(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = containers.iter().find_map(|container| container.state.as_ref()?.waiting.as_ref())?;
    let reason = waiting.reason.clone().filter(|reason| reason != "ContainerCreating")?;
    let message = waiting.message.as_ref().map(|message| format!(": {message}"));
    Some(format!("{reason}{}", message.unwrap_or_default()))
}

/// What is so of the members' claims, and which are left of former members.
pub(super) fn storage(mirror: &RegistryMirror, claims: &[PersistentVolumeClaim]) -> StorageFact {
    let (mirror_name, replicas) = (name(mirror), replicas(&mirror.spec));
    if mirror.spec.storage.storage_type == StorageType::Ephemeral {
        return StorageFact::default();
    }
    let of_member = |number: i32| {
        let wanted = names::member(mirror_name, &number.to_string());
        let found = claims.iter().find(|claim| name(*claim) == wanted).map(claim_found);
        ClaimState { name: wanted, found }
    };
    let stays = |claim: &&PersistentVolumeClaim| {
        claim.metadata.deletion_timestamp.is_none() && !is_owned(*claim, mirror.metadata.uid.as_deref())
    };
    let number = |claim| names::number(mirror_name, name(claim));
    let mut kept: Vec<_> =
        claims.iter().filter(stays).filter_map(number).filter(|number| *number >= replicas).collect();
    kept.sort_unstable();
    let kept = kept.into_iter().map(|number| names::member(mirror_name, &number.to_string())).collect();
    StorageFact { claims: (0..replicas).map(of_member).collect(), kept }
}

fn claim_found(claim: &PersistentVolumeClaim) -> ClaimFound {
    let (spec, status) = (claim.spec.clone().unwrap_or_default(), claim.status.clone().unwrap_or_default());
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let size = |sizes: &BTreeMap<String, Quantity>| observe::bytes(&sizes.get("storage")?.0);
    ClaimFound {
        bound: status.phase.as_deref() == Some("Bound"),
        class: spec.storage_class_name,
        requested: size(&requests).unwrap_or_default(),
        capacity: status.capacity.as_ref().and_then(size),
    }
}

/// What nodes report of the mirror, once agents have been told of it.
pub(super) fn nodes(context: &Context, mirror: &RegistryMirror) -> Option<Tally> {
    let Told::Document(document) = published(&context.caches) else { return None };
    let entry = document.mirrors.iter().find(|entry| Some(&entry.uid) == mirror.metadata.uid.as_ref())?;
    let reports = context.caches.mirror_nodes.state();
    let reports: HashMap<_, _> =
        reports.iter().filter_map(|report| Some((name(&**report), report.status.as_ref()?))).collect();
    let (mut nodes, none) = (context.caches.nodes.state(), BTreeMap::new());
    // Messages name the first of a kind: in the order of a store each restart would name another.
    nodes.sort_by(|a, b| name(&**a).cmp(name(&**b)));
    let facts = nodes.iter().map(|node| NodeFact {
        name: name(&**node),
        labels: node.metadata.labels.as_ref().unwrap_or(&none),
        report: reports.get(name(&**node)).copied(),
    });
    Some(tally(entry, &document.mirrors, &facts.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_rolled_out_once_the_turn_for_it_ends() {
        let fact = |available: i32| {
            let status = serde_json::json!({
                "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": available,
            });
            let deployment = serde_json::json!({"spec": {"selector": {}, "template": {}}, "status": status});
            deployment_fact(&serde_json::from_value(deployment).unwrap())
        };
        assert!(!fact(0).rolled_out, "ready, and not yet for five seconds");
        assert!(fact(1).rolled_out);
    }

    #[test]
    fn why_pods_cannot_be_made_is_read_from_the_deployment() {
        let fact = |status: &str| {
            let condition = serde_json::json!({
                "type": "ReplicaFailure", "status": status, "reason": "FailedCreate",
                "message": "serviceaccount \"nope\" not found",
            });
            let deployment = serde_json::json!({"status": {"readyReplicas": 1, "conditions": [condition]}});
            deployment_fact(&serde_json::from_value(deployment).unwrap())
        };
        assert_eq!(fact("True").refused.as_deref(), Some("serviceaccount \"nope\" not found"));
        assert_eq!(fact("False").refused, None);
    }
}
