//! What surrounds every request: its deadline, its line in the log, its place in the counters.
//!
//! One function instead of a stack of middlewares: small answers are many, and each layer's boxed future costs as much as
//! looking up a manifest.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use http::{Method, Request, Uri};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    access::Door,
    answers::{self, Outcome},
    error::ApiError,
    routes::{self, App},
};

/// The end of every wait for response headers, above the deadlines of the pulls themselves: whatever goes wrong in
/// between, a node gets its 503 well before containerd's own 30 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// All that answers the requests that come in by one door. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    app: Arc<App>,
    door: Door,
}

impl Stack {
    pub(crate) fn new(app: Arc<App>, door: Door) -> Self {
        Self { app, door }
    }

    /// The answer to a request; its body may stream for as long as it moves.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response {
        let (begun, method, uri) = (Instant::now(), request.method().clone(), request.uri().clone());
        let (parts, _) = request.into_parts();
        let answer = tokio::time::timeout(ANSWER_WITHIN, routes::serve(&self.app, self.door, parts));
        let response = answer.await.unwrap_or_else(|_| answers::error(ApiError::Late, Outcome::refused()));
        if let Some(outcome) = response.extensions().get::<Outcome>() {
            self.app.metrics.request(outcome.registry.as_ref(), outcome.class, outcome.result);
            log(&method, &uri, &response, outcome, begun);
        }
        response
    }
}

fn log(method: &Method, uri: &Uri, response: &Response, outcome: &Outcome, begun: Instant) {
    let failed = outcome.error.as_ref().filter(|_| response.status().is_server_error());
    if failed.is_none() && !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let registry = outcome.registry.as_ref().map(tracing::field::display);
    let repository = outcome.repository.as_ref().map(tracing::field::display);
    let (path, status, result) = (uri.path(), response.status().as_u16(), outcome.result.as_str());
    let headers_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match failed {
        Some(error) => {
            let error = error.cause();
            tracing::warn!(%method, path, registry, repository, status, result, headers_ms, error, "request");
        }
        None => tracing::info!(%method, path, registry, repository, status, result, headers_ms, "request"),
    }
}
