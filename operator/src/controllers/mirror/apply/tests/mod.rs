//! In which order a mirror's objects are written, and what waits for its turn, against an API server that takes all.

mod images;
mod members;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::api::networking::v1::Ingress;
use kube::client::Body;
use serde_json::{Value, json};
use tidepool_api::RegistryMirror;
use tidepool_plan::{ClaimFact, Defaults, Referenced, plan, validate};
use tower_test::mock::{self, Handle};

use super::*;

const UID: &str = "uid-of-reef";

/// What a version plans whose image is this.
fn planned(version: &str, key: &str) -> (Identity, Objects) {
    let spec = json!({"upstreams": [{"registry": "ghcr.io"}], "storage": {"volume": {"size": format!("{version}Gi")}}});
    planned_by(version, key, spec, &Referenced::default())
}

fn planned_by(version: &str, key: &str, spec: Value, referenced: &Referenced) -> (Identity, Objects) {
    let mut mirror = RegistryMirror::new("reef", serde_json::from_value(spec).unwrap());
    mirror.metadata.uid = Some(UID.to_owned());
    let valid = validate(&mirror, referenced).unwrap();
    let defaults = Defaults {
        image: format!("tidepool:{version}"),
        pull_policy: "IfNotPresent".to_owned(),
        namespace: "deep".to_owned(),
        log_level: None,
    };
    let part = |name: &str| format!("{name} {key}");
    let identity = Identity { certificate: part("certificate"), key: part("key"), authorities: part("authorities") };
    let objects = plan(&valid, &identity, &defaults).unwrap();
    (identity, objects)
}

/// The cluster after these objects were applied.
fn live(objects: Objects) -> Live {
    let Objects { config, network_policy, budget, service_account, service, claims, deployments, ingress } = objects;
    Live {
        secrets: vec![Arc::new(config)],
        service_accounts: service_account.into_iter().map(Arc::new).collect(),
        services: vec![Arc::new(service)],
        claims: claims.into_iter().map(Arc::new).collect(),
        deployments: deployments.into_iter().map(Arc::new).collect(),
        ingresses: ingress.into_iter().map(Arc::new).collect(),
        network_policies: vec![Arc::new(network_policy)],
        budgets: vec![Arc::new(budget)],
    }
}

/// Takes every object but those of one kind, or the one that is `<kind>/<name>`, and says what was written:
/// `<method> <kind>`, and the object.
async fn serve(mut server: Handle<Request<Body>, Response<Body>>, refused: &str) -> Vec<(String, Value)> {
    let mut written = Vec::new();
    while let Some((request, send)) = server.next_request().await {
        let (request, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (method, path) = (request.method.as_str(), request.uri.path().to_owned());
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let missing = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        let quota = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403});
        let kind = path.rsplit('/').nth(1).unwrap_or_default().to_owned();
        let (status, answer) = match method {
            "GET" => (404, &missing),
            _ if kind == refused || (refused.contains('/') && path.ends_with(refused)) => (403, &quota),
            _ => (200, &body),
        };
        let answer = Body::from(answer.to_string().into_bytes());
        send.send_response(Response::builder().status(status).body(answer).unwrap());
        if method != "GET" {
            written.push((format!("{method} {kind}"), body));
        }
    }
    written
}

fn names(written: &[(String, Value)]) -> Vec<&str> {
    written.iter().map(|(what, _)| what.as_str()).collect()
}
