//! What surrounds every request: its place among those in flight, its deadline, its line in the log, its place in the
//! counters.
//!
//! One function instead of a stack of middlewares: small answers are many, and each layer's boxed future costs as much as
//! looking up a manifest.

mod access_log;
mod sent;
mod trace;

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use http::{Method, Request, request::Parts};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    access::Door,
    answers::{self, Outcome},
    error::ApiError,
    metrics::{Class, Held, Listener, Metrics, ShedReason},
    routes::{self, App},
};
use access_log::Asked;
use sent::{Holds, Sent};
pub(crate) use trace::Trace;

/// The end of every wait for response headers, above the deadlines of the pulls themselves: whatever goes wrong in
/// between, a node gets its 503 well before containerd's own 30 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Requests of one listener that wait for their answer at once: each costs some kilobytes, and a herd of nodes is welcome.
const MOST_REQUESTS: usize = 4096;
/// Blobs of one listener on their way to clients at once: each may cost a piece in memory.
const MOST_BLOBS: usize = 4096;

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
    listener: Listener,
    metrics: Metrics,
    in_flight: Gauge,
    requests: Semaphore,
    blobs: Arc<Semaphore>,
}

impl Stack {
    pub(crate) fn new(app: Arc<App>, door: Door) -> Self {
        let listener = match door {
            Door::Clients => Listener::Clients,
            Door::Agents => Listener::Agents,
        };
        let gate = Arc::new(Gate::new(listener, app.metrics.clone(), MOST_REQUESTS, MOST_BLOBS));
        Self { app, door, gate }
    }

    /// The answer to a request; its body may stream for as long as it moves.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> http::Response<Sent> {
        let (app, door) = (self.app, self.door);
        let answer = async |parts| {
            let answer = tokio::time::timeout(ANSWER_WITHIN, routes::serve(&app, door, parts));
            answer.await.unwrap_or_else(|_| answers::error(ApiError::Late, Outcome::refused()))
        };
        self.gate.watch(request.into_parts().0, answer).await
    }
}

impl Gate {
    fn new(listener: Listener, metrics: Metrics, requests: usize, blobs: usize) -> Self {
        let (requests, blobs) = (Semaphore::new(requests), Arc::new(Semaphore::new(blobs)));
        Self { listener, in_flight: metrics.in_flight(listener), metrics, requests, blobs }
    }

    /// Lets a request in, and sees to its answer until that has ended.
    async fn watch(
        self: Arc<Self>,
        mut parts: Parts,
        answer: impl AsyncFnOnce(Parts) -> Response,
    ) -> http::Response<Sent> {
        let (begun, head) = (Instant::now(), parts.method == Method::HEAD);
        let (asked, in_flight) = (Asked::of(&mut parts), Held::one(&self.in_flight));
        let mut response = match self.requests.try_acquire() {
            Ok(_place) => answer(parts).await,
            Err(_) => self.turn_away(ShedReason::Requests, Outcome::refused()),
        };
        let mut outcome = outcome_of(&mut response);
        let mut place = None;
        if !head && outcome.class == Class::Blob && response.status().is_success() {
            place = Arc::clone(&self.blobs).try_acquire_owned().ok();
            if place.is_none() {
                response = self.turn_away(ShedReason::Blobs, outcome);
                outcome = outcome_of(&mut response);
            }
        }
        self.metrics.request(outcome.registry.as_ref(), outcome.class, outcome.result);
        self.metrics.headers_after(outcome.class, begun.elapsed());
        let line = asked.answered(begun, response.status(), outcome);
        let length = if head { Some(0) } else { sent::length(&response) };
        response.map(|body| Sent::new(body, length, line, Holds { gate: self, _in_flight: in_flight, _place: place }))
    }

    fn turn_away(&self, reason: ShedReason, outcome: Outcome) -> Response {
        self.metrics.shed(self.listener, reason);
        answers::error(ApiError::Crowded, outcome)
    }
}

fn outcome_of(response: &mut Response) -> Outcome {
    response.extensions_mut().remove().unwrap_or_else(Outcome::refused)
}

#[cfg(test)]
mod tests;
