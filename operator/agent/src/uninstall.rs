//! Whether the agent stops for good: a look at its own DaemonSet when it is told to stop (design N4).

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client};

/// How long the look may take; the kubelet waits for us.
const WITHIN: Duration = Duration::from_secs(2);

/// What becomes of the files on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A restart, an upgrade, or nobody knows: another agent follows, and until then the files are harmless.
    Keep,
    /// The DaemonSet is gone or going, or we may not look any more: nobody follows. A wrong guess costs a bypass.
    Withdraw,
}

/// Looks at the agent's DaemonSet.
pub async fn verdict(client: Client, namespace: &str, daemon_set: &str) -> Verdict {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client, namespace);
    let verdict = match tokio::time::timeout(WITHIN, daemon_sets.get(daemon_set)).await {
        Ok(Ok(found)) if found.metadata.deletion_timestamp.is_none() => Verdict::Keep,
        Ok(Ok(_)) => Verdict::Withdraw,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => Verdict::Withdraw,
        Ok(Err(error)) => {
            tracing::info!(%error, "the API server does not say whether this is an uninstall");
            Verdict::Keep
        }
        Err(_) => Verdict::Keep,
    };
    tracing::info!(?verdict, daemon_set, "stopping");
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;

    /// The verdict when the API server answers this, or nothing.
    async fn when(answer: Option<(u16, serde_json::Value)>) -> Verdict {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                assert_eq!(request.uri().path(), "/apis/apps/v1/namespaces/tidepool-agents/daemonsets/tidepool-agent");
                let Some((status, body)) = &answer else {
                    std::future::pending::<()>().await;
                    return;
                };
                send.send_response(
                    Response::builder().status(*status).body(Body::from(body.to_string().into_bytes())).unwrap(),
                );
            }
        });
        let verdict = verdict(Client::new(service, "default"), "tidepool-agents", "tidepool-agent").await;
        server.abort();
        verdict
    }

    fn failure(code: u16) -> Option<(u16, serde_json::Value)> {
        Some((
            code,
            serde_json::json!({"kind": "Status", "status": "Failure", "code": code, "reason": "X", "message": "m"}),
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn files_stay_over_a_restart_and_while_nobody_answers() {
        let live = serde_json::json!({"metadata": {"name": "tidepool-agent"}});
        assert_eq!(when(Some((200, live))).await, Verdict::Keep);
        assert_eq!(when(None).await, Verdict::Keep);
        assert_eq!(when(failure(500)).await, Verdict::Keep);
        assert_eq!(when(failure(503)).await, Verdict::Keep);
        assert_eq!(when(failure(429)).await, Verdict::Keep);
    }

    #[tokio::test(start_paused = true)]
    async fn files_go_with_the_daemon_set_and_with_the_permission_to_see_it() {
        let going =
            serde_json::json!({"metadata": {"name": "tidepool-agent", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(when(Some((200, going))).await, Verdict::Withdraw);
        for code in [401, 403, 404] {
            assert_eq!(when(failure(code)).await, Verdict::Withdraw, "{code}");
        }
    }
}
