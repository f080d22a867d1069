//! What is done about a mirror whose spec this version cannot use, against a scripted API server.

use http::{Method, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Server, context, mirror};

/// The configuration of mirror `reef`, of a version to come.
fn config(owner: &str) -> Secret {
    let file = "revision: 0000000000000000\nupstreams: [{registry: a.io}]\nofTomorrow: true\n";
    let encoded = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    let owners =
        json!([{"apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror", "name": "reef", "uid": owner}]);
    let labels = tidepool_plan::names::labels("reef");
    let object = json!({
        "metadata": {"name": "mirror-reef-config", "namespace": "deep", "ownerReferences": owners, "labels": labels},
        "data": {"proxy.yaml": encoded(file), "users": encoded("u"), "tls.crt": encoded("old")},
    });
    serde_json::from_value(object).unwrap()
}

/// Answers what is asked until there is silence: nothing is there, and what is written is taken. The written objects.
async fn served(mut server: Server) -> Vec<Value> {
    let mut written = Vec::new();
    while let Some((request, send)) = server.next_request().await {
        let (method, body) = (request.method().clone(), request.into_body().collect().await.unwrap().to_bytes());
        let (status, answer) = match method {
            Method::GET => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
            _ => (200, serde_json::from_slice::<Value>(&body).unwrap()),
        };
        if method != Method::GET {
            written.push(answer.clone());
        }
        let body = Body::from(answer.to_string().into_bytes());
        send.send_response(Response::builder().status(status).body(body).unwrap());
    }
    written
}

fn text(object: &Value, key: &str) -> String {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(object["data"][key].clone()).unwrap();
    String::from_utf8(bytes.0).unwrap()
}

#[tokio::test]
async fn a_mirror_that_cannot_be_read_gets_its_certificates() {
    let unread = mirror("reef", "uid-1", &json!({"upstreams": "of tomorrow"}));
    assert!(unread.0.is_err());
    let (context, server) = context(vec![unread.clone()], vec![config("uid-1")]);
    let context = Arc::new(context);
    let reconciled = async {
        let action = attempt(Arc::new(unread), Arc::clone(&context)).await.unwrap();
        assert_ne!(action, Action::await_change());
        drop(context);
    };
    let ((), written) = tokio::join!(reconciled, served(server));
    let [authority, config] = &*written else { panic!("{written:#?}") };
    assert_eq!(
        (&authority["metadata"]["name"], &config["metadata"]["name"]),
        (&json!("tidepool-authority"), &json!("mirror-reef-config"))
    );
    assert_eq!(text(config, "agents-ca.crt"), text(authority, "tls.crt"));
    assert!(text(config, "tls.crt").starts_with("-----BEGIN CERTIFICATE-----"));
    let (file, revision) =
        (text(config, "proxy.yaml"), &config["metadata"]["annotations"]["tidepool.dev/config-revision"]);
    assert!(file.contains("ofTomorrow: true") && file.contains(revision.as_str().unwrap()), "{file}");
    assert_eq!(text(config, "users"), "u");
}

#[tokio::test]
async fn what_an_earlier_mirror_of_the_name_left_is_not_renewed() {
    let unread = mirror("reef", "uid-2", &json!({"upstreams": "of tomorrow"}));
    let (context, server) = context(vec![unread.clone()], vec![config("uid-1")]);
    let reconciled = async { attempt(Arc::new(unread), Arc::new(context)).await.unwrap() };
    let (_, written) = tokio::join!(reconciled, served(server));
    assert!(written.is_empty(), "{written:#?}");
}
