//! Starts and ends probe pods, and says what they told.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use tidepool_api::{MirrorNode, mirror_node_condition::HONORED};
use tidepool_plan::{
    Act, Saying,
    names::{MANAGER, STATUS_MANAGER},
    probe_pod,
};

use super::ProbesError;
use crate::{context::Context, controllers::mirror_nodes, resources::name};

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

async fn say(context: &Context, report: &MirrorNode, saying: Saying) -> Result<bool, ProbesError> {
    let Saying { status, reason, message } = saying;
    let condition = mirror_nodes::condition(report, HONORED, status, reason, message);
    let said = mirror_nodes::say(context, report, STATUS_MANAGER, condition).await;
    said.map_err(|source| ProbesError::Say { name: name(report).to_owned(), source: Box::new(source) })
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
