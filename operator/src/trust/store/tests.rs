//! The Secret against a scripted API server: what is asked and written, and that nothing is when nothing is due.

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{self, Handle};

use super::{super::Lifetime, *};

type Server = Handle<Request<Body>, Response<Body>>;

const PATH: &str = "/api/v1/namespaces/deep/secrets/tidepool-authority";

fn trust() -> (Trust, Server) {
    let (service, server) = mock::pair();
    let lifetime = |text: &str| text.parse::<Lifetime>().unwrap();
    let lifetimes = Lifetimes::new(lifetime("365d"), lifetime("30d")).unwrap();
    (Trust::new(lifetimes, Client::new(service, "deep"), "deep"), server)
}

/// Answers a request, and returns it with its body.
async fn answer(server: &mut Server, status: StatusCode, body: Value) -> (String, Value) {
    let (request, send) = server.next_request().await.unwrap();
    send.send_response(Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap());
    let asked = format!("{} {}", request.method(), request.uri().path());
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    (asked, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason})
}

/// The Secret that a PATCH made.
fn stored(patch: &Value, version: &str) -> Secret {
    let mut object = patch.clone();
    object["metadata"]["resourceVersion"] = json!(version);
    serde_json::from_value(object).unwrap()
}

/// Makes the first authority and returns the patch that was sent.
async fn begun(trust: &Trust, server: &mut Server, now: SystemTime) -> Value {
    let served = async {
        let (get, _) = answer(server, StatusCode::NOT_FOUND, failure(404, "NotFound")).await;
        let (patch, body) = answer(server, StatusCode::OK, json!({"metadata": {}})).await;
        assert_eq!((get, patch), (format!("GET {PATH}"), format!("PATCH {PATH}")));
        body
    };
    let (authorities, patch) = tokio::join!(trust.authorities(None, &|_| true, now), served);
    assert!(authorities.unwrap().0.signer().is_some());
    patch
}

#[tokio::test]
async fn one_is_made_once_and_a_cache_that_is_behind_makes_no_other() {
    let (trust, mut server) = trust();
    let now = SystemTime::now();
    let patch = begun(&trust, &mut server, now).await;
    assert_eq!(patch["metadata"]["labels"][MANAGED_BY_LABEL], MANAGED_BY);
    let made = Authorities::read(&stored(&patch, "7").data.unwrap());
    // Behind, then there, then asked again: no request, and always the same.
    let cached = stored(&patch, "7");
    for seen in [None, Some(&cached), Some(&cached)] {
        let (authorities, _) = trust.authorities(seen, &|_| true, now).await.unwrap();
        assert_eq!(authorities.bundle(), made.bundle());
    }
    drop(trust);
    assert!(server.next_request().await.is_none());
}

#[tokio::test]
async fn a_successor_takes_over_what_is_there_without_a_request() {
    let (first, mut server) = trust();
    let now = SystemTime::now();
    let cached = stored(&begun(&first, &mut server, now).await, "7");
    let (second, mut server) = trust();
    let (authorities, due) = second.authorities(Some(&cached), &|_| true, now).await.unwrap();
    assert!(authorities.signer().is_some() && due > now);
    drop(second);
    assert!(server.next_request().await.is_none());
}

#[tokio::test]
async fn a_change_is_decided_and_written_on_the_version_the_server_has() {
    let (first, mut server) = trust();
    let now = SystemTime::now();
    let cached = stored(&begun(&first, &mut server, now).await, "7");
    // Two thirds of its life are over; the cache has version 7, the server 8.
    let later = now + first.lifetimes.authority * 7 / 10;
    let mut fresh = serde_json::to_value(&cached).unwrap();
    fresh["metadata"]["resourceVersion"] = json!("8");
    let served = async {
        answer(&mut server, StatusCode::OK, fresh).await;
        answer(&mut server, StatusCode::CONFLICT, failure(409, "Conflict")).await
    };
    let (refused, (_, patch)) = tokio::join!(first.authorities(Some(&cached), &|_| true, later), served);
    assert!(matches!(refused, Err(TrustError::Write(_))));
    assert_eq!(patch["metadata"]["resourceVersion"], "8");
    assert!(patch["data"]["next.crt"].is_string());
    assert_eq!(patch["data"]["tls.crt"], serde_json::to_value(&cached).unwrap()["data"]["tls.crt"]);
}

#[tokio::test]
async fn a_rotation_that_another_began_is_not_begun_again() {
    let (first, mut server) = trust();
    let now = SystemTime::now();
    let cached = stored(&begun(&first, &mut server, now).await, "7");
    let later = now + first.lifetimes.authority * 7 / 10;
    let mut rotating = Authorities::read(cached.data.as_ref().unwrap());
    rotating.advance(&|_| true, later, first.lifetimes.authority).unwrap();
    let fresh = json!({
        "metadata": {"resourceVersion": "8", "labels": {MANAGED_BY_LABEL: MANAGED_BY}}, "data": rotating.data(),
    });
    let served = answer(&mut server, StatusCode::OK, fresh);
    let (authorities, _) = tokio::join!(first.authorities(Some(&cached), &|_| true, later), served);
    assert_eq!(authorities.unwrap().0.bundle(), rotating.bundle());
    drop(first);
    assert!(server.next_request().await.is_none());
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_and_garbage_of_ours_is_replaced() {
    let (first, _server) = trust();
    let garbage = json!({"metadata": {"resourceVersion": "3"}, "data": {"tls.crt": "eA=="}});
    let theirs = serde_json::from_value(garbage.clone()).unwrap();
    assert!(matches!(first.authorities(Some(&theirs), &|_| true, SystemTime::now()).await, Err(TrustError::Foreign)));
    let (second, mut server) = trust();
    let mut ours = garbage;
    ours["metadata"]["labels"] = json!({MANAGED_BY_LABEL: MANAGED_BY});
    let cached = serde_json::from_value(ours.clone()).unwrap();
    let served = async {
        answer(&mut server, StatusCode::OK, ours).await;
        answer(&mut server, StatusCode::OK, json!({"metadata": {}})).await
    };
    let (authorities, _) = tokio::join!(second.authorities(Some(&cached), &|_| true, SystemTime::now()), served);
    assert!(authorities.unwrap().0.signer().is_some());
}

#[tokio::test]
async fn a_rotation_waits_until_everybody_is_told_and_goes_on_where_a_predecessor_left_it() {
    let (first, mut server) = trust();
    let now = SystemTime::now();
    let cached = stored(&begun(&first, &mut server, now).await, "7");
    let (later, hour) = (now + first.lifetimes.authority * 7 / 10, Duration::from_secs(3600));
    // What a process that is new makes of the Secret: what it writes.
    let restarted = async |cached: &Secret, told: bool, now: SystemTime| {
        let (trust, mut server) = trust();
        let served = async {
            let (request, send) = server.next_request().await?;
            assert_eq!(request.method(), "GET");
            send.send_response(Response::new(Body::from(serde_json::to_vec(cached).unwrap())));
            Some(answer(&mut server, StatusCode::OK, json!({"metadata": {}})).await.1)
        };
        let decided = async {
            trust.authorities(Some(cached), &|_| told, now).await.unwrap();
            drop(trust);
        };
        let ((), patch) = tokio::join!(decided, served);
        patch.map(|patch| stored(&patch, "8"))
    };
    let signer = |secret: &Secret| secret.data.as_ref().unwrap()["tls.crt"].clone();
    let prepared = restarted(&cached, false, later).await.expect("the next is made");
    assert!(restarted(&prepared, false, later + hour * 100).await.is_none(), "somebody is not told");
    let told = restarted(&prepared, true, later + hour * 100).await.expect("it is noted that all are told");
    assert_eq!(signer(&told), signer(&cached));
    assert!(restarted(&told, true, later + hour * 101 - Duration::from_secs(1)).await.is_none());
    assert!(restarted(&told, false, later + hour * 101).await.is_none(), "one is not told any more");
    let promoted = restarted(&told, true, later + hour * 101).await.expect("it signs");
    assert_ne!(signer(&promoted), signer(&cached));
    assert!(!promoted.data.unwrap().contains_key("next.told"));
}

#[tokio::test]
async fn a_label_that_was_taken_away_is_put_back() {
    let (first, mut server) = trust();
    let now = SystemTime::now();
    let mut cached = stored(&begun(&first, &mut server, now).await, "7");
    cached.metadata.labels = None;
    let (second, mut server) = trust();
    let served = async {
        answer(&mut server, StatusCode::OK, serde_json::to_value(&cached).unwrap()).await;
        answer(&mut server, StatusCode::OK, json!({"metadata": {}})).await.1
    };
    let asked = async {
        let once = second.authorities(Some(&cached), &|_| true, now).await;
        // The cache is a moment behind what was just written.
        once.and(second.authorities(Some(&cached), &|_| true, now).await)
    };
    let served = tokio::time::timeout(Duration::from_secs(5), served);
    let (authorities, patch) = tokio::join!(asked, served);
    let patch = patch.expect("it is written");
    assert_eq!(patch["metadata"]["labels"][MANAGED_BY_LABEL], MANAGED_BY);
    assert_eq!(patch["data"], serde_json::to_value(&cached).unwrap()["data"]);
    assert_eq!(authorities.unwrap().0.data(), cached.data.unwrap());
    drop(second);
    assert!(server.next_request().await.is_none());
}
