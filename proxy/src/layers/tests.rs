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

/// Answers a blob that never ends at `/blob`, and anything else never.
async fn slow(parts: Parts) -> Response {
    if parts.uri.path() != "/blob" {
        return std::future::pending().await;
    }
    let body = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let mut response = ([(header::CONTENT_LENGTH, "10")], body).into_response();
    response.extensions_mut().insert(Outcome { class: Class::Blob, result: RequestResult::Hit, ..Outcome::refused() });
    response
}

fn gate(requests: usize, blobs: usize) -> (Arc<Gate>, Metrics) {
    let metrics = Metrics::default();
    (Arc::new(Gate::new(Listener::Agents, metrics.clone(), requests, blobs)), metrics)
}

async fn ask(gate: &Arc<Gate>, method: Method, path: &str) -> http::Response<Sent> {
    let parts = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    Arc::clone(gate).watch(parts, slow).await
}

fn is_shed(response: &http::Response<Sent>) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE && response.headers()[header::RETRY_AFTER] == "2"
}

#[tokio::test]
async fn a_request_too_many_is_turned_away_at_once() {
    let (gate, metrics) = gate(2, 2);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { ask(&gate, Method::GET, "/").await })
        })
        .collect();
    tokio::task::yield_now().await;
    let shed = tokio::time::timeout(Duration::from_secs(5), ask(&gate, Method::GET, "/")).await;
    assert!(is_shed(&shed.expect("it waits")));
    let text = counted(&metrics);
    assert!(text.contains(r#"tidepool_shed_total{listener="agents",reason="requests"} 1"#), "{text}");
    assert!(text.contains(r#"tidepool_requests_in_flight{listener="agents"} 2"#), "{text}");
    for task in waiting {
        task.abort();
        let _ = task.await;
    }
    // They left: there is room again, and nothing is counted for ever.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), ask(&gate, Method::GET, "/")).await.is_err(),
        "turned away"
    );
    assert!(counted(&metrics).contains(r#"tidepool_requests_in_flight{listener="agents"} 0"#));
}

#[tokio::test]
async fn a_blob_too_many_is_turned_away_and_one_that_ends_makes_room() {
    let (gate, metrics) = gate(9, 2);
    let mut sending: Vec<_> = Vec::new();
    for _ in 0..2 {
        sending.push(ask(&gate, Method::GET, "/blob").await);
        assert_eq!(sending.last().unwrap().status(), StatusCode::OK);
    }
    assert!(is_shed(&ask(&gate, Method::GET, "/blob").await));
    assert_eq!(ask(&gate, Method::HEAD, "/blob").await.status(), StatusCode::OK, "a HEAD sends nothing");
    drop(sending.pop());
    assert_eq!(ask(&gate, Method::GET, "/blob").await.status(), StatusCode::OK);
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
