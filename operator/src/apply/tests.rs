//! Writing against a scripted API server: which requests are made, and that none is made when nothing differs.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::client::Body;
use serde_json::json;
use tower_test::mock::{self, Handle};

use super::*;

type Server = Handle<Request<Body>, Response<Body>>;

fn api() -> (Client, Server) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    (Client::new(service, "deep"), handle)
}

fn secret(extra: &Value) -> Secret {
    let mut object = json!({
        "metadata": {
            "name": "mirror-reef-config", "namespace": "deep", "uid": "1",
            "labels": {MANAGED_BY_LABEL: MANAGED_BY, MIRROR_LABEL: "reef"},
            "ownerReferences": [{"apiVersion": "v", "kind": "k", "name": "reef", "uid": "owner"}],
        },
        "data": {"a": "YQ=="},
    });
    merge(&mut object, extra);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, extra: &Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            extra.iter().for_each(|(key, value)| merge(into.entry(key.clone()).or_insert(Value::Null), value));
        }
        (into, extra) => *into = extra.clone(),
    }
}

/// The object as the API server holds it after it was applied.
fn applied(wanted: &Secret) -> Secret {
    let mut object = hashed(serde_json::to_value(wanted).unwrap());
    merge(&mut object, &json!({"metadata": {"resourceVersion": "7"}, "type": "Opaque"}));
    serde_json::from_value(object).unwrap()
}

/// Answers one request and says what it was.
async fn answer(server: &mut Server, status: StatusCode, body: Value) -> String {
    let (request, send) = server.next_request().await.unwrap();
    send.send_response(Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap());
    format!("{} {}", request.method(), request.uri().path())
}

fn not_found() -> Value {
    json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"})
}

const PATH: &str = "/api/v1/namespaces/deep/secrets/mirror-reef-config";

#[tokio::test]
async fn nothing_is_asked_of_the_server_when_nothing_differs() {
    let (client, mut server) = api();
    let wanted = secret(&json!({}));
    let live = applied(&wanted);
    assert_eq!(ensure(&client, &wanted, Some(&live)).await.unwrap(), live);
    drop(client);
    assert!(server.next_request().await.is_none());
}

#[tokio::test]
async fn a_missing_a_drifted_and_an_outdated_object_are_applied() {
    let wanted = secret(&json!({}));
    let drifted = applied(&secret(&json!({"data": {"a": "Yg=="}})));
    // The field that is wanted no more shows by the hash alone.
    let outdated = applied(&secret(&json!({"data": {"b": "Yg=="}})));
    for live in [None, Some(drifted), Some(outdated)] {
        let (client, mut server) = api();
        let found = live.as_ref().map(|live| serde_json::to_value(live).unwrap());
        let served = async {
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let get = answer(&mut server, status, found.unwrap_or_else(not_found)).await;
            let patch = answer(&mut server, StatusCode::OK, serde_json::to_value(applied(&wanted)).unwrap()).await;
            (get, patch)
        };
        let (written, requests) = tokio::join!(ensure(&client, &wanted, live.as_ref()), served);
        assert_eq!(written.unwrap(), applied(&wanted));
        assert_eq!(requests, (format!("GET {PATH}"), format!("PATCH {PATH}")));
    }
}

#[tokio::test]
async fn an_item_whose_key_somebody_changed_is_put_right_by_replacing_the_list() {
    let (client, mut server) = api();
    let wanted = secret(&json!({}));
    let now = serde_json::to_value(applied(&wanted)).unwrap();
    let invalid = json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422, "message": "twice"});
    let served = async {
        let mut kinds = Vec::new();
        for (status, body) in [
            (StatusCode::OK, now.clone()),
            (StatusCode::UNPROCESSABLE_ENTITY, invalid),
            (StatusCode::OK, now.clone()),
            (StatusCode::OK, now.clone()),
        ] {
            let (request, send) = server.next_request().await.unwrap();
            kinds.push(request.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()));
            let body = Body::from(body.to_string().into_bytes());
            send.send_response(Response::builder().status(status).body(body).unwrap());
        }
        kinds.into_iter().flatten().collect::<Vec<_>>()
    };
    let (written, kinds) = tokio::join!(ensure(&client, &wanted, None), served);
    assert_eq!(written.unwrap(), applied(&wanted));
    assert_eq!(
        kinds[1..],
        ["application/apply-patch+yaml", "application/merge-patch+json", "application/apply-patch+yaml"]
    );
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let (client, mut server) = api();
    let wanted = secret(&json!({}));
    let theirs = json!({"metadata": {"name": "mirror-reef-config", "labels": {MIRROR_LABEL: "reef"}}});
    let (result, request) = tokio::join!(ensure(&client, &wanted, None), answer(&mut server, StatusCode::OK, theirs));
    assert!(matches!(result, Err(ApplyError::Foreign { .. })));
    assert_eq!(request, format!("GET {PATH}"));
}

#[tokio::test]
async fn pruning_needs_our_label_and_our_owner() {
    let (client, mut server) = api();
    let kept = secret(&json!({"metadata": {"name": "kept"}}));
    let live = [
        kept.clone(),
        secret(&json!({"metadata": {"name": "not-owned", "ownerReferences": []}})),
        secret(&json!({"metadata": {"name": "not-labelled", "labels": {MANAGED_BY_LABEL: "helm"}}})),
        secret(&json!({"metadata": {"name": "ours"}})),
    ];
    let live: Vec<_> = live.into_iter().map(Arc::new).collect();
    let keep = [&kept];
    let (pruned, request) = tokio::join!(
        prune(&client, "owner", &live, &keep),
        answer(&mut server, StatusCode::OK, json!({"kind": "Status"}))
    );
    pruned.unwrap();
    assert_eq!(request, "DELETE /api/v1/namespaces/deep/secrets/ours");
    drop(client);
    assert!(server.next_request().await.is_none());
}
