//! Whether the agent stops for good: a look at its own DaemonSet and namespace when it is told to stop (design N4).

use std::time::Duration;

use k8s_openapi::{
    api::{apps::v1::DaemonSet, core::v1::Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client};

use crate::node::NodeFacts;

/// How long the look may take; the kubelet waits for us.
const WITHIN: Duration = Duration::from_secs(2);

/// What becomes of the files on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A restart, an upgrade, or nobody knows: another agent follows, and until then the files are harmless.
    Keep,
    /// The DaemonSet or its namespace is gone or going, it selects this node no more, or we may not look any more:
    /// nobody follows. A wrong guess costs a bypass.
    Withdraw,
}

/// Looks at the agent's DaemonSet and at its namespace, which is going before the DaemonSet is when both are deleted.
pub async fn verdict(client: Client, namespace: &str, daemon_set: &str, node: Option<&NodeFacts>) -> Verdict {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let namespaces: Api<Namespace> = Api::all(client);
    let (found, around) = tokio::join!(
        tokio::time::timeout(WITHIN, daemon_sets.get(daemon_set)),
        tokio::time::timeout(WITHIN, namespaces.get(namespace)),
    );
    let found = found.map(|found| found.map(|found| is_live(&found.metadata) && selects(&found, node)));
    let around = around.map(|around| around.map(|around| is_live(&around.metadata)));
    let verdict = if stays(found) && stays(around) { Verdict::Keep } else { Verdict::Withdraw };
    tracing::info!(?verdict, daemon_set, namespace, "stopping");
    verdict
}

fn is_live(object: &ObjectMeta) -> bool {
    object.deletion_timestamp.is_none()
}

/// Whether the DaemonSet's pods belong on this node; so they do where nothing is known of it.
fn selects(daemon_set: &DaemonSet, node: Option<&NodeFacts>) -> bool {
    let pod = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let (Some(selector), Some(node)) = (pod.and_then(|pod| pod.node_selector.as_ref()), node) else { return true };
    selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
}

/// What an answer says; one that did not come says nothing.
fn stays(answer: Result<Result<bool, kube::Error>, tokio::time::error::Elapsed>) -> bool {
    match answer {
        Ok(Ok(stays)) => stays,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => false,
        Ok(Err(error)) => {
            tracing::info!(%error, "the API server does not say whether this is an uninstall");
            true
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    type Answer = Option<(u16, Value)>;

    /// The verdict on a node of zone `a` when the API server answers this of the DaemonSet and of the namespace, or
    /// nothing.
    async fn when(daemon_set: Answer, namespace: Answer) -> Verdict {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let answer = match request.uri().path() {
                    "/apis/apps/v1/namespaces/tidepool-agents/daemonsets/tidepool-agent" => &daemon_set,
                    "/api/v1/namespaces/tidepool-agents" => &namespace,
                    other => panic!("{other}"),
                };
                match answer {
                    None => unanswered.push(send),
                    Some((status, body)) => send.send_response(
                        Response::builder().status(*status).body(Body::from(body.to_string().into_bytes())).unwrap(),
                    ),
                }
            }
        });
        let mut node = NodeFacts::default();
        node.labels.insert("zone".to_owned(), "a".to_owned());
        let client = Client::new(service, "default");
        let verdict = verdict(client, "tidepool-agents", "tidepool-agent", Some(&node)).await;
        server.abort();
        verdict
    }

    fn failure(code: u16) -> Answer {
        Some((code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": "X", "message": "m"})))
    }

    fn live() -> Answer {
        Some((200, json!({"metadata": {"name": "x"}})))
    }

    fn going() -> Answer {
        Some((200, json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}})))
    }

    fn in_zone(zone: &str) -> Answer {
        let pod = json!({"spec": {"nodeSelector": {"zone": zone}, "containers": []}});
        Some((200, json!({"metadata": {"name": "x"}, "spec": {"selector": {}, "template": pod}})))
    }

    #[tokio::test(start_paused = true)]
    async fn files_stay_over_a_restart_and_while_nobody_answers() {
        assert_eq!(when(live(), live()).await, Verdict::Keep);
        assert_eq!(when(in_zone("a"), live()).await, Verdict::Keep);
        for unknown in [None, failure(500), failure(503), failure(429)] {
            assert_eq!(when(unknown.clone(), live()).await, Verdict::Keep);
            assert_eq!(when(live(), unknown.clone()).await, Verdict::Keep);
            assert_eq!(when(unknown.clone(), unknown).await, Verdict::Keep);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_go_with_the_daemon_set_or_its_namespace_and_with_the_permission_to_see_them() {
        for gone in [going(), failure(401), failure(403), failure(404)] {
            assert_eq!(when(gone.clone(), live()).await, Verdict::Withdraw, "{gone:?}");
            assert_eq!(when(live(), gone.clone()).await, Verdict::Withdraw, "{gone:?}");
            assert_eq!(when(None, gone.clone()).await, Verdict::Withdraw, "{gone:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_go_when_the_daemon_set_selects_the_node_no_more() {
        assert_eq!(when(in_zone("b"), live()).await, Verdict::Withdraw);
    }
}
