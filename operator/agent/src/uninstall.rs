//! Whether the agent stops for good: a look at its own DaemonSet and namespace when it is told to stop (design N4).

use std::time::Duration;

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Namespace, Node},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::ListParams};

use crate::placement::belongs;

/// How long the look may take; the kubelet waits for us.
const WITHIN: Duration = Duration::from_secs(2);

/// What becomes of the files on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A restart, an upgrade, or nobody knows: another agent follows, and until then the files are harmless.
    Keep,
    /// The DaemonSet or its namespace is gone or going, it has no place on this node any more, or we may not look any
    /// more: nobody follows. A wrong guess costs a bypass.
    Withdraw,
}

/// Looks at the agent's DaemonSet, at its namespace, which is going before the DaemonSet is when both are deleted, and
/// at the Node as it is now: a change of it may be why the pod goes, and may not have reached this agent's watch yet.
pub async fn verdict(client: Client, namespace: &str, daemon_set: &str, node: &str) -> Verdict {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client);
    // A list of one: nodes may be listed and watched, and no right is needed for this alone.
    let of_this_name = ListParams::default().fields(&format!("metadata.name={node}"));
    let (found, around, here) = tokio::join!(
        tokio::time::timeout(WITHIN, daemon_sets.get(daemon_set)),
        tokio::time::timeout(WITHIN, namespaces.get(namespace)),
        tokio::time::timeout(WITHIN, nodes.list(&of_this_name)),
    );
    let placed = match (&found, &here) {
        (Ok(Ok(found)), Ok(Ok(here))) => here.items.iter().all(|node| puts_a_pod_on(found, node)),
        _ => true,
    };
    let found = found.map(|found| found.map(|found| is_live(&found.metadata)));
    let around = around.map(|around| around.map(|around| is_live(&around.metadata)));
    let here = here.map(|here| here.map(|here| !here.items.is_empty()));
    let stays = placed && stays(found) && stays(around) && stays(here);
    let verdict = if stays { Verdict::Keep } else { Verdict::Withdraw };
    tracing::info!(?verdict, daemon_set, namespace, "stopping");
    verdict
}

fn is_live(object: &ObjectMeta) -> bool {
    object.deletion_timestamp.is_none()
}

fn puts_a_pod_on(daemon_set: &DaemonSet, node: &Node) -> bool {
    let pod = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.is_none_or(|pod| belongs(pod, node))
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

    const DAEMON_SET: &str = "/apis/apps/v1/namespaces/tidepool-agents/daemonsets/tidepool-agent";
    const NAMESPACE: &str = "/api/v1/namespaces/tidepool-agents";
    const NODE: &str = "/api/v1/nodes";

    /// The verdict on node n1 when the API server answers this of DaemonSet, namespace and node, or nothing.
    async fn when(daemon_set: Answer, namespace: Answer, node: Answer) -> Verdict {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let answer = match request.uri().path() {
                    DAEMON_SET => &daemon_set,
                    NAMESPACE => &namespace,
                    NODE => &node,
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
        let verdict = verdict(Client::new(service, "default"), "tidepool-agents", "tidepool-agent", "n1").await;
        server.abort();
        verdict
    }

    fn failure(code: u16) -> Answer {
        Some((code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": "X", "message": "m"})))
    }

    fn live() -> Answer {
        Some((200, json!({"metadata": {"name": "x"}})))
    }

    /// The Node of this name, which is in zone a.
    fn here() -> Answer {
        with_taints(&json!([]))
    }

    fn with_taints(taints: &Value) -> Answer {
        let node = json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}, "spec": {"taints": taints}});
        Some((200, json!({"metadata": {}, "items": [node]})))
    }

    fn going() -> Answer {
        Some((200, json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}})))
    }

    fn in_zone(zone: &str) -> Answer {
        let pod = json!({"spec": {"nodeSelector": {"zone": zone}, "containers": []}});
        Some((200, json!({"metadata": {"name": "x"}, "spec": {"selector": {}, "template": pod}})))
    }

    #[tokio::test(start_paused = true)]
    async fn n4_files_stay_over_a_restart_and_while_nobody_answers() {
        assert_eq!(when(live(), live(), here()).await, Verdict::Keep);
        assert_eq!(when(in_zone("a"), live(), here()).await, Verdict::Keep);
        for unknown in [None, failure(500), failure(503), failure(429)] {
            assert_eq!(when(unknown.clone(), live(), here()).await, Verdict::Keep);
            assert_eq!(when(live(), unknown.clone(), here()).await, Verdict::Keep);
            assert_eq!(when(in_zone("b"), live(), unknown.clone()).await, Verdict::Keep);
            assert_eq!(when(unknown.clone(), unknown.clone(), unknown).await, Verdict::Keep);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn n4_files_go_with_the_daemon_set_or_its_namespace_and_with_the_permission_to_see_them() {
        for gone in [going(), failure(401), failure(403), failure(404)] {
            assert_eq!(when(gone.clone(), live(), here()).await, Verdict::Withdraw, "{gone:?}");
            assert_eq!(when(live(), gone.clone(), here()).await, Verdict::Withdraw, "{gone:?}");
            assert_eq!(when(None, gone.clone(), None).await, Verdict::Withdraw, "{gone:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn n4_files_go_when_the_node_has_no_place_for_an_agent_any_more() {
        assert_eq!(when(in_zone("b"), live(), here()).await, Verdict::Withdraw);
        let tainted = with_taints(&json!([{"key": "gpu", "effect": "NoExecute"}]));
        assert_eq!(when(in_zone("a"), live(), tainted).await, Verdict::Withdraw);
        let gone = Some((200, json!({"metadata": {}, "items": []})));
        assert_eq!(when(in_zone("a"), live(), gone).await, Verdict::Withdraw);
    }
}
