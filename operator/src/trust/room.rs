//! More mirrors than a Secret has room for certificates: the oldest are served, and nothing fails.

use http::Response;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::json;

use super::{agents_secret, certificate::Certificate};
use crate::testing::{Server, context};

/// What the API server takes in a Secret.
const SECRET: usize = 1024 * 1024;

/// Plays a server that has nothing and takes everything.
async fn served(mut server: Server) {
    while let Some((request, send)) = server.next_request().await {
        let (get, body) = (request.method() == "GET", request.into_body().collect().await.unwrap().to_bytes());
        let missing = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        let (status, body) = if get { (404, missing.to_string().into_bytes()) } else { (200, body.to_vec()) };
        send.send_response(Response::builder().status(status).body(Body::from(body)).unwrap());
    }
}

#[tokio::test]
async fn the_oldest_mirrors_have_certificates_and_all_fits() {
    let uids: Vec<_> = (0..1400).map(|n| format!("0c2f1b6e-6b0a-4a70-9d9a-{n:012}")).collect();
    let (context, server) = context(Vec::new(), Vec::new());
    let issued = async {
        let few = agents_secret(&context, &uids[..10]).await.unwrap().0;
        let all = agents_secret(&context, &uids).await.unwrap().0;
        drop(context);
        (few.data.unwrap(), all.data.unwrap())
    };
    let ((few, all), ()) = tokio::join!(issued, served(server));
    let size: usize = all.iter().map(|(key, value)| key.len() + value.0.len()).sum();
    assert!(size < SECRET * 9 / 10, "{size} B");
    assert!(few.iter().all(|(key, value)| all[key] == *value), "those that were there stay as they were");
    let has = |uid: &String| all.get(&format!("{uid}.crt")).is_some_and(|text| Certificate::read(&text.0).is_some());
    assert!(uids[..1000].iter().all(has) && !uids[1000..].iter().any(has));
}
