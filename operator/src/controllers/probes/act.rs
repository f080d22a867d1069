//! Starts and ends probe pods, and says what they told.

use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
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

/// Does it, given the nodes as they were judged. Whether it came about: what follows from it is left out otherwise.
pub(super) async fn act(context: &Context, act: Act, nodes: &[&MirrorNode]) -> Result<bool, ProbesError> {
    let Some(report) = nodes.iter().find(|node| name(**node) == act.node()) else {
        return match act {
            Act::End { pod, now, .. } => end(context, &pod, now).await,
            Act::Start(_) | Act::Say(..) => Ok(false),
        };
    };
    match act {
        Act::Start(_) => start(context, report).await,
        Act::End { pod, now, .. } => end(context, &pod, now).await,
        Act::Say(_, saying) => say(context, report, saying).await,
    }
}

async fn start(context: &Context, report: &MirrorNode) -> Result<bool, ProbesError> {
    let pod = probe_pod(report, &context.defaults.namespace);
    let manager = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match pods(context).create(&manager, &pod).await {
        Ok(_) => {
            tracing::info!(node = name(report), "probing whether the node pulls through its agent");
            Ok(true)
        }
        // The cache is a moment behind.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(true),
        // A policy or a quota of the cluster's is against it: nothing is gained by trying at once again.
        Err(kube::Error::Api(status)) if is_refusal(status.code) => {
            say(context, report, Saying::refused(&status.message)).await?;
            Ok(false)
        }
        Err(source) => Err(ProbesError::Start { node: name(report).to_owned(), source: Box::new(source) }),
    }
}

/// Whether an answer is somebody's no: quotas say 403, webhooks any code that they like, 400 where they name none, and 500
/// where they do not answer themselves.
fn is_refusal(code: u16) -> bool {
    matches!(code, 400..=500) && !matches!(code, 401 | 408 | 409 | 429)
}

async fn end(context: &Context, pod: &str, now: bool) -> Result<bool, ProbesError> {
    let how = DeleteParams { grace_period_seconds: now.then_some(0), ..DeleteParams::background() };
    match pods(context).delete(pod, &how).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(true),
        Err(source) => Err(ProbesError::End { name: pod.to_owned(), source: Box::new(source) }),
    }
}

fn pods(context: &Context) -> Api<Pod> {
    Api::namespaced(context.client.clone(), &context.defaults.namespace)
}

/// Writes the operator's part of a node's status: one condition, and not over what the agent said since it was judged.
async fn say(context: &Context, report: &MirrorNode, saying: Saying) -> Result<bool, ProbesError> {
    let node = name(report);
    let patch = json!({
        "apiVersion": "tidepool.dev/v1alpha1",
        "kind": "MirrorNode",
        "metadata": {"name": node, "uid": report.metadata.uid, "resourceVersion": report.metadata.resource_version},
        "status": {"conditions": [condition(report, saying)]},
    });
    let api = Api::<MirrorNode>::all(context.client.clone());
    match api.patch_status(node, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(true),
        // It went, or changed: that rings again.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
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

#[cfg(test)]
mod tests {
    use super::is_refusal;

    #[test]
    fn n5_a_policys_no_is_told_from_an_api_server_in_trouble() {
        for no in [400, 403, 422, 418, 500] {
            assert!(is_refusal(no), "{no}");
        }
        for trouble in [401, 409, 429, 502, 503, 504] {
            assert!(!is_refusal(trouble), "{trouble}");
        }
    }
}
