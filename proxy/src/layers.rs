//! What surrounds every request: its deadline, its line in the log, its place in the counters.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use tokio::time::Instant;

use crate::{
    access::Door,
    answers::{self, Outcome},
    error::ApiError,
    metrics::Metrics,
    routes::{self, App},
};

/// The end of every wait for response headers, above the deadlines of the pulls themselves: whatever goes wrong in
/// between, a node gets its 503 well before containerd's own 30 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The whole stack around the routes, for the requests that come in by `door`.
pub(crate) fn stack(app: Arc<App>, door: Door) -> Router {
    let metrics = app.metrics.clone();
    routes::router(app, door)
        // Bounds the wait for headers only: a blob's body may stream for as long as it moves.
        .layer(from_fn(in_time))
        // Outermost, so that it sees what the client sees.
        .layer(from_fn_with_state(metrics, note))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => answers::error(ApiError::Late, Outcome::refused()),
    }
}

async fn note(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let (begun, method, path) = (Instant::now(), request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let Some(outcome) = response.extensions().get::<Outcome>() else { return response };
    metrics.request(outcome.registry.as_ref(), outcome.class, outcome.result);
    let registry = outcome.registry.as_ref().map(tracing::field::display);
    let repository = outcome.repository.as_ref().map(tracing::field::display);
    let (status, result) = (response.status().as_u16(), outcome.result.as_str());
    let headers_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome.error.as_ref().filter(|_| status >= 500) {
        Some(error) => {
            let error = error.cause();
            tracing::warn!(%method, path, registry, repository, status, result, headers_ms, error, "request");
        }
        None => tracing::info!(%method, path, registry, repository, status, result, headers_ms, "request"),
    }
    response
}
