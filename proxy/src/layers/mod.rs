//! What surrounds every request: its place among those in flight, its deadline, its line in the log, its place in the
//! counters.
//!
//! One function instead of a stack of middlewares: small answers are many, and each layer's boxed future costs as much as
//! looking up a manifest.

mod access_log;
mod sent;
mod trace;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::response::Response;
use http::{Method, Request, request::Parts};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::{
    access::Door,
    answers::{self, Outcome},
    error::ApiError,
    listen::crowd::{Crowd, Limits},
    metrics::{Class, Held, Listener, Metrics, ShedReason},
    routes::{self, App},
};
use access_log::Asked;
use sent::{Holds, Sent};
pub(crate) use trace::{TRACE_HEADERS, Trace};

/// The end of every wait for response headers, above the deadlines of the pulls themselves: whatever goes wrong in
/// between, a node gets its 503 well before containerd's own 30 s.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);
/// Blobs of one listener on their way to clients at once: each may cost a piece in memory, and what TLS holds of it. Of
/// requests there are no more than connections, which have a bound of their own.
const BLOBS: Limits = Limits { most: 4096, share: 1024 };

/// All that answers the requests that come in by one door. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    app: Arc<App>,
    door: Door,
    gate: Arc<Gate>,
}

/// How many may be in flight by one door, and who counts them.
#[derive(Debug)]
struct Gate {
    metrics: Metrics,
    in_flight: Gauge,
    blobs: Crowd,
}

impl Stack {
    pub(crate) fn new(app: Arc<App>, door: Door) -> Self {
        let listener = match door {
            Door::Clients => Listener::Clients,
            Door::Agents => Listener::Agents,
        };
        let gate = Arc::new(Gate::new(listener, app.metrics.clone(), BLOBS));
        Self { app, door, gate }
    }

    /// The answer to a request from `address`; its body may stream for as long as it moves.
    pub(crate) async fn answer(self, address: IpAddr, request: Request<Incoming>) -> http::Response<Sent> {
        let (app, door) = (self.app, self.door);
        let answer = async |parts| {
            let answer = tokio::time::timeout(GIVEN_UP_AFTER, routes::serve(&app, door, parts));
            answer.await.unwrap_or_else(|_| answers::error(ApiError::Late, Outcome::refused()))
        };
        self.gate.watch(address, request.into_parts().0, answer).await
    }
}

impl Gate {
    fn new(listener: Listener, metrics: Metrics, blobs: Limits) -> Self {
        let blobs = Crowd::new(listener, ShedReason::Blobs, blobs, metrics.clone());
        Self { in_flight: metrics.in_flight(listener), metrics, blobs }
    }

    /// Lets a request in, and sees to its answer until that has ended.
    async fn watch(
        self: Arc<Self>,
        address: IpAddr,
        mut parts: Parts,
        answer: impl AsyncFnOnce(Parts) -> Response,
    ) -> http::Response<Sent> {
        let (begun, head) = (Instant::now(), parts.method == Method::HEAD);
        let (asked, in_flight) = (Asked::of(&mut parts), Held::one(&self.in_flight));
        // Before anything is asked or opened for it.
        let place = wants_blob(&parts).then(|| self.blobs.enter(address));
        let mut response = match place {
            Some(None) => answers::error(ApiError::Crowded, Outcome { class: Class::Blob, ..Outcome::refused() }),
            _ => answer(parts).await,
        };
        let outcome = outcome_of(&mut response);
        let place = place.flatten().filter(|_| outcome.class == Class::Blob && response.status().is_success());
        self.metrics.request(outcome.registry.as_ref(), outcome.class, outcome.result);
        self.metrics.headers_after(outcome.class, begun.elapsed());
        let line = asked.answered(begun, response.status(), outcome);
        let length = if head { Some(0) } else { sent::length(&response) };
        response.map(|body| Sent::new(body, length, line, Holds { gate: self, _in_flight: in_flight, _place: place }))
    }
}

/// Whether the answer may be a blob's bytes, by the path's last words: `…/blobs/<digest>`.
fn wants_blob(parts: &Parts) -> bool {
    parts.method == Method::GET && parts.uri.path().rsplit('/').nth(1) == Some("blobs")
}

fn outcome_of(response: &mut Response) -> Outcome {
    response.extensions_mut().remove().unwrap_or_else(Outcome::refused)
}

#[cfg(test)]
mod tests;
