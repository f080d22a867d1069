//! Nodes whose agent is not there: their MirrorNodes say so, and why, until it is back (design N5).
//!
//! What to say is decided by `tidepool_plan::absences`. What is known lives in this process alone: a take-over writes
//! nothing, and has the same patience with a node as a process that begins.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidepool_api::{MirrorNode, mirror_node_condition::READY};
use tidepool_plan::{Absences, Word, absences, names::ABSENCE_MANAGER};

use super::{mirror_nodes, rounds::Rounds};
use crate::{context::Context, leader::NotLeading, metrics::Controller, resources::name};

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AbsencesError {
    #[error("cannot write condition Ready of MirrorNode {name}")]
    Say { name: String, source: Box<kube::Error> },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
}

/// The controller, with what it knows of nodes without an agent since it began.
pub(crate) struct AwayAgents {
    context: Arc<Context>,
    known: Absences,
    began: Instant,
}

impl AwayAgents {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, known: Absences::default(), began: Instant::now() }
    }
}

impl Rounds for AwayAgents {
    const CONTROLLER: Controller = Controller::Absences;
    /// Thousands of nodes report in the course of minutes, and none of them waits for this.
    const DEBOUNCE: Duration = Duration::from_secs(1);
    const FAILURE: &'static str = "cannot say which nodes have no agent";
    type Error = AbsencesError;

    /// Looks at all nodes and all pods of agents, and says what is due.
    async fn reconcile(&mut self) -> Result<Duration, AbsencesError> {
        let context = &*self.context;
        context.leadership.check()?;
        let nodes = mirror_nodes::sorted(&context.caches);
        let nodes: Vec<&MirrorNode> = nodes.iter().map(|node| &**node).collect();
        let pods = context.caches.agent_pods.state();
        let pods: Vec<_> = pods.iter().filter_map(|pod| pod.seen.as_ref()).collect();
        let (words, next) = absences(&nodes, &pods, &mut self.known, self.began.elapsed()); // pure
        let mut result = Ok(());
        for word in words {
            let node = nodes.iter().find(|node| name(**node) == word.node);
            if let Some(node) = node {
                result = result.and(say(context, node, word).await);
            }
        }
        result.map(|()| next)
    }
}

async fn say(context: &Context, node: &MirrorNode, word: Word) -> Result<(), AbsencesError> {
    let Word { node: name, status, reason, message } = word;
    tracing::info!(node = name, ready = status, reason, "whether the node has an agent");
    let condition = mirror_nodes::condition(node, READY, &status, &reason, message);
    match mirror_nodes::say(context, node, ABSENCE_MANAGER, condition).await {
        Ok(_) => Ok(()),
        Err(source) => Err(AbsencesError::Say { name, source: Box::new(source) }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        resources::AgentPod,
        testing::{Server, context, filled},
    };

    fn node(name: &str, ready: &str) -> MirrorNode {
        let ready = json!({
            "type": "Ready", "status": ready, "reason": "AgentNotReady", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(json!({
            "apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "spec": {},
            "metadata": {"name": name, "uid": "u", "resourceVersion": "7"},
            "status": {"conditions": [ready], "runtime": {"name": "containerd", "version": "2.4.2"}},
        }))
        .unwrap()
    }

    /// Answers one write with this code, and gives what was asked.
    async fn answered(server: &mut Server, code: u16) -> (String, Value) {
        let (request, answer) = server.next_request().await.unwrap();
        let uri = request.uri().to_string();
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": if code == 409 { "Conflict" } else { "InternalError" }});
        let body_out =
            if code == 200 { serde_json::to_vec(&node("n", "True")).unwrap() } else { status.to_string().into() };
        answer.send_response(http::Response::builder().status(code).body(body_out.into()).unwrap());
        (uri, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn n5_a_word_is_written_over_what_was_read_and_nothing_later() {
        let (context, mut server) = context(Vec::new(), Vec::new());
        let word = Word {
            node: "n".to_owned(),
            status: "Unknown".to_owned(),
            reason: "AgentNotReady".to_owned(),
            message: "mend it".to_owned(),
        };
        let reported = node("n", "True");
        let (said, (uri, patch)) = tokio::join!(say(&context, &reported, word.clone()), answered(&mut server, 409));
        assert!(said.is_ok(), "the agent was first");
        assert!(
            uri.contains("/mirrornodes/n/status?") && uri.contains("fieldManager=tidepool-operator-absence"),
            "{uri}"
        );
        assert_eq!(patch["metadata"], json!({"name": "n", "uid": "u", "resourceVersion": "7"}));
        assert_eq!(patch["status"]["conditions"].as_array().unwrap().len(), 1);
        let (said, _) = tokio::join!(say(&context, &reported, word), answered(&mut server, 500));
        assert!(said.is_err());
    }

    #[tokio::test]
    async fn n5_an_operator_that_begins_has_patience() {
        let (mut context, server) = context(Vec::new(), Vec::new());
        context.caches.mirror_nodes = filled(vec![node("a", "Unknown"), node("b", "True")]);
        let ready = json!({"type": "Ready", "status": "True"});
        let pod: AgentPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "managedFields": []},
            "spec": {"nodeName": "a", "containers": []}, "status": {"conditions": [ready]},
        }))
        .unwrap();
        assert!(kube::Resource::meta(&pod).labels.is_none(), "what is not needed is not kept");
        context.caches.agent_pods = filled(vec![pod]);
        drop(server); // A write would fail.
        let next = AwayAgents::new(Arc::new(context)).reconcile().await.unwrap();
        assert!(next <= Duration::from_secs(60) && next > Duration::from_secs(59), "b's agent may restart: {next:?}");
    }
}
