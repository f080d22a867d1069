//! Starts and ends probe pods, and says what they told.

use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::reflector::ObjectRef,
};
use serde_json::json;
use tidepool_api::{MirrorNode, mirror_node_condition::HONORED};
use tidepool_plan::{
    Act, Saying,
    names::{MANAGER, STATUS_MANAGER},
    probe_pod,
};

use super::ProbesError;
use crate::{context::Context, resources::name};

pub(super) async fn act(context: &Context, act: Act) -> Result<(), ProbesError> {
    match act {
        Act::Start(node) => start(context, &node).await,
        Act::End(pod) => end(context, &pod).await,
        Act::Say(node, saying) => say(context, &node, saying).await,
    }
}

fn find(context: &Context, node: &str) -> Option<std::sync::Arc<MirrorNode>> {
    context.caches.mirror_nodes.get(&ObjectRef::new(node))
}

async fn start(context: &Context, node: &str) -> Result<(), ProbesError> {
    let Some(report) = find(context, node) else { return Ok(()) };
    let pod = probe_pod(&report, &context.defaults.namespace);
    let manager = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match pods(context).create(&manager, &pod).await {
        Ok(_) => {
            tracing::info!(node, "probing whether the node pulls through its agent");
            Ok(())
        }
        // The cache is a moment behind.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        // A policy or a quota of the cluster's is against it: nothing is gained by trying at once again.
        Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
            say(context, node, Saying::refused(&status.message)).await
        }
        Err(source) => Err(ProbesError::Pod { act: "start", name: name(&pod).to_owned(), source: Box::new(source) }),
    }
}

async fn end(context: &Context, pod: &str) -> Result<(), ProbesError> {
    match pods(context).delete(pod, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ProbesError::Pod { act: "delete", name: pod.to_owned(), source: Box::new(source) }),
    }
}

fn pods(context: &Context) -> Api<Pod> {
    Api::namespaced(context.client.clone(), &context.defaults.namespace)
}

/// Writes the operator's part of a node's status: one condition, and not over what the agent said meanwhile.
async fn say(context: &Context, node: &str, saying: Saying) -> Result<(), ProbesError> {
    let Some(report) = find(context, node) else { return Ok(()) };
    let patch = json!({
        "apiVersion": "tidepool.dev/v1alpha1",
        "kind": "MirrorNode",
        "metadata": {"name": node, "uid": report.metadata.uid, "resourceVersion": report.metadata.resource_version},
        "status": {"conditions": [condition(&report, saying)]},
    });
    let api = Api::<MirrorNode>::all(context.client.clone());
    match api.patch_status(node, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        // It went, or changed: that rings again.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(ProbesError::Say { name: node.to_owned(), source: Box::new(source) }),
    }
}

fn condition(report: &MirrorNode, Saying { status, reason, message }: Saying) -> Condition {
    let conditions = report.status.iter().flat_map(|status| &status.conditions);
    let before = conditions.into_iter().find(|known| known.type_ == HONORED && known.status == status);
    // The API server keeps whole seconds.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    Condition {
        type_: HONORED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: report.metadata.generation,
        last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
    }
}
