//! What is let in at once, and what is said to the rest.

use axum::{body::Body, response::IntoResponse as _};
use http::{StatusCode, header};
use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;
use crate::metrics::RequestResult;

/// The counters, as a scraper reads them.
fn counted(metrics: &Metrics) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    metrics.register(&mut registry);
    encode(&mut text, &registry).unwrap();
    text
}

const BLOB: &str = "/v2/a/blobs/sha256:0";

/// Answers a blob that never ends at [`BLOB`], and anything else never.
async fn slow(parts: Parts) -> Response {
    if parts.uri.path() != BLOB {
        return std::future::pending().await;
    }
    let body = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let mut response = ([(header::CONTENT_LENGTH, "10")], body).into_response();
    response.extensions_mut().insert(Outcome { class: Class::Blob, result: RequestResult::Hit, ..Outcome::refused() });
    response
}

fn gate(most: usize, share: usize) -> (Arc<Gate>, Metrics) {
    let metrics = Metrics::default();
    (Arc::new(Gate::new(Listener::Agents, metrics.clone(), Limits { most, share })), metrics)
}

async fn ask(gate: &Arc<Gate>, last: u8, method: Method, path: &str) -> http::Response<Sent> {
    let parts = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    Arc::clone(gate).watch([10, 0, 0, last].into(), parts, slow).await
}

fn is_shed(response: &http::Response<Sent>) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE && response.headers()[header::RETRY_AFTER] == "2"
}

#[tokio::test]
async fn a_request_counts_as_in_flight_until_its_end_or_the_client_leaves() {
    let (gate, metrics) = gate(9, 9);
    let waiting = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { ask(&gate, 1, Method::GET, "/").await }
    });
    tokio::task::yield_now().await;
    let in_flight = |count| format!(r#"tidepool_requests_in_flight{{listener="agents"}} {count}"#);
    assert!(counted(&metrics).contains(&in_flight(1)));
    waiting.abort();
    let _ = waiting.await;
    assert!(counted(&metrics).contains(&in_flight(0)));
}

#[tokio::test]
async fn a_blob_too_many_is_turned_away_and_one_that_ends_makes_room() {
    let (gate, metrics) = gate(2, 2);
    let mut sending: Vec<_> = Vec::new();
    for _ in 0..2 {
        sending.push(ask(&gate, 1, Method::GET, BLOB).await);
        assert_eq!(sending.last().unwrap().status(), StatusCode::OK);
    }
    // At once: nothing is looked up or asked for it.
    let parts = Request::builder().uri(BLOB).body(()).unwrap().into_parts().0;
    let shed = Arc::clone(&gate).watch([10, 0, 0, 2].into(), parts, async |_| unreachable!("it is answered")).await;
    assert!(is_shed(&shed));
    drop(shed);
    assert_eq!(ask(&gate, 1, Method::HEAD, BLOB).await.status(), StatusCode::OK, "a HEAD sends nothing");
    drop(sending.pop());
    assert_eq!(ask(&gate, 1, Method::GET, BLOB).await.status(), StatusCode::OK);
    let text = counted(&metrics);
    for line in [
        r#"tidepool_shed_total{listener="agents",reason="blobs"} 1"#,
        r#"tidepool_requests_total{upstream="",class="blob",result="shed"} 1"#,
        // The refusal was not read either.
        r#"tidepool_answers_cut_total{class="blob",by="client"} 3"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn one_address_with_many_blobs_leaves_the_others_theirs() {
    let (gate, _) = gate(40, 5);
    let mut held = Vec::new();
    for _ in 0..30 {
        let answer = ask(&gate, 1, Method::GET, BLOB).await;
        if !is_shed(&answer) {
            held.push(answer);
        }
    }
    assert_eq!(held.len(), 20, "half, and no more");
    for last in 2..6 {
        for _ in 0..5 {
            let answer = ask(&gate, last, Method::GET, BLOB).await;
            assert!(!is_shed(&answer), "{last} is shut out");
            held.push(answer);
        }
    }
}
