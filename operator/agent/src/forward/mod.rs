//! The forwarder: pulls that arrive on loopback go to the home member of what they ask for (design N6).
//!
//! - [`server`]: the listener, its connections and how they end.
//! - [`Forwarder`]: from a request to a reply, always within a deadline.
//! - `request`, `routing`: what it means, and which members there are for it.
//! - `exchange`, `alive`: one request to one member, and how a slow one is told from a dead one.
//! - `verdict`: whether a reply is the last word.
//! - `breaker`, `member`: who is left alone, until the background health ([`crate::health`]) finds it back.
//! - `whole`: small replies, complete before the runtime hears of them.
//! - `body`, `course`: a blob's body, and how it goes on where it stalls or breaks.
//! - `links`, `connector`, `read_ahead`, `several`: connections to members, proven on both sides (design P14).

mod alive;
mod answer;
mod body;
mod breaker;
mod connector;
mod course;
mod exchange;
mod headers;
mod limits;
mod links;
mod member;
mod read_ahead;
mod request;
mod room;
mod routing;
mod self_check;
pub mod server;
mod several;
mod tls_failure;
mod turn_away;
mod verdict;
mod whole;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tidepool_oci::{ErrorCode, Object, Route, Target};
use tokio::time::Instant;

use crate::{
    identity::Identity,
    metrics::{Metrics, Outcome},
    probe_image,
};
use answer::error;
use body::RelayBody;
use course::Course;
use exchange::{Ask, AskError, Exchange};
use verdict::{Verdict, verdict};
use whole::Reply;

pub use crate::honored::Honored;
pub use body::{BodyError, ReplyBody};
pub use limits::Limits;
pub use member::Member;
pub use routing::{Members, Routing, Routings};
pub use self_check::{Answers, Mark};
pub use tls_failure::TlsFailure;

/// Answers every request that reaches the listener.
#[derive(Debug)]
pub struct Forwarder {
    exchange: Arc<Exchange>,
    routings: Arc<Routings>,
    metrics: Metrics,
    honored: Honored,
}

impl Forwarder {
    /// A forwarder along `routings`.
    #[must_use]
    pub fn new(routings: Arc<Routings>, limits: Limits, metrics: Metrics, honored: Honored) -> Self {
        Self { exchange: Arc::new(Exchange::new(limits, metrics.clone())), routings, metrics, honored }
    }

    /// Takes a new identity: for connections from now on. What is under way ends well on the old ones; members that
    /// did not believe the old one are asked again.
    pub fn identify(&self, identity: Identity) {
        self.exchange.links.set(identity, &self.exchange.limits);
        let routing = self.routings.current();
        for member in routing.mirrors().into_values().flat_map(|name| routing.members(name)) {
            member.ask_now();
        }
        self.exchange.failures.notify_one();
    }

    /// Waits until a member fails, or may be back; one waiter.
    pub async fn member_failed(&self) {
        self.exchange.failures.notified().await;
    }

    /// Whether there is an identity for a mirror's members.
    #[must_use]
    pub fn has_identity_for(&self, mirror_uid: &str) -> bool {
        self.exchange.links.of(mirror_uid).is_some()
    }

    /// Whether a member answers, asked on a connection of its own.
    pub async fn is_alive(&self, member: &Member) -> bool {
        self.exchange.is_alive(member, Instant::now()).await
    }

    /// Answers a request: with what a member says, or with an error that lets the runtime go on upstream.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return error(
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorCode::Unsupported,
                "the node's listener only serves pulls",
            );
        }
        let routing = self.routings.current();
        if let Some(target) = request::of_probe(&request) {
            return self.answer_probe(&target, &request);
        }
        let object = match request::meant(&request, &routing) {
            Ok(Route::Base) => return answer::base(),
            Ok(Route::Object(object)) => object,
            Err(reason) => return error(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, &reason.to_string()),
        };
        // A request of a runtime for a registry of ours: it reads our files.
        if request::is_of_runtime(&request) {
            self.honored.set();
        }
        self.forward(&routing, &object, &request).await
    }

    /// The operator's probe pod: its image is here, and nowhere else. Members and registries are never asked.
    fn answer_probe(&self, target: &Target, request: &Request<Incoming>) -> Response<ReplyBody> {
        let Some(part) = probe_image::part(target) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, "the probe's image has no such part");
        };
        if request::is_of_runtime(request) {
            self.honored.set_by_probe();
        }
        answer::part(part, request.method())
    }

    async fn forward(&self, routing: &Routing, object: &Object, request: &Request<Incoming>) -> Response<ReplyBody> {
        let Some(mirror) = routing.mirror_of(&object.registry) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "registry is not mirrored here");
        };
        let (members, began) = (routing.members_for(mirror, &request::key(object)), Instant::now());
        let is_blob = matches!(object.target, Target::Blob(_)) && *request.method() == Method::GET;
        let reply = self.first_that_serves(members, object, Ask::new(request, is_blob)).await;
        let (status, took) = (reply.as_ref().map(|reply| reply.status().as_u16()), began.elapsed());
        tracing::debug!(http.path = request.uri().path(), http.method = %request.method(), http.status = status, ?took, "answered");
        let outcome = reply.as_ref().map_or(Outcome::Bypassed, |reply| Outcome::of(reply.status()));
        self.metrics.count(mirror, outcome);
        reply.unwrap_or_else(unavailable)
    }

    /// Asks home, then the others; none when no member answers in time with what a runtime can use.
    async fn first_that_serves(
        &self,
        members: Vec<Arc<Member>>,
        object: &Object,
        ask: Ask,
    ) -> Option<Response<ReplyBody>> {
        let is_blob = matches!(object.target, Target::Blob(_));
        let deadline = Instant::now() + self.exchange.limits.headers(ask.is_blob);
        for (position, member) in members.iter().enumerate().filter(|(_, member)| member.may_be_asked()) {
            let asked = self.exchange.ask_whole(member, &members, &ask, is_blob, deadline).await;
            let reply = match asked {
                Ok(reply) => reply,
                // Here, at this node: another member would not help.
                Err(AskError::Crowded) => return None,
                Err(_) => continue,
            };
            let (status, headers) = reply.head();
            let verdict = verdict(&object.target, status, headers);
            if verdict == Verdict::Relayed {
                return Some(self.relay(reply, members, position, is_blob, ask));
            }
            tracing::debug!(member.id = member.id(), http.status = status.as_u16(), ?verdict, "reply not relayed");
            if verdict == Verdict::Nonsense {
                member.misbehaved();
            }
        }
        None
    }

    fn relay(
        &self,
        reply: Reply,
        members: Vec<Arc<Member>>,
        member: usize,
        is_blob: bool,
        ask: Ask,
    ) -> Response<ReplyBody> {
        let reply = match reply {
            Reply::Whole(mut head, bytes) => {
                head.headers = headers::for_runtime(&head.headers);
                return Response::from_parts(head, ReplyBody::text(bytes));
            }
            Reply::Head(reply) => reply,
        };
        let (mut head, body) = reply.into_parts();
        head.headers = headers::for_runtime(&head.headers);
        if ask.method == Method::HEAD {
            return Response::from_parts(head, ReplyBody::empty());
        }
        let length = headers::content_length(&head.headers);
        let range = headers::window(head.status, &head.headers).filter(|_| is_blob);
        let course = Course { exchange: Arc::clone(&self.exchange), ask, members, range };
        Response::from_parts(head, ReplyBody::relay(RelayBody::new(body, length, course, member)))
    }
}

fn unavailable() -> Response<ReplyBody> {
    error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, "no member of the mirror can serve this now")
}

#[cfg(test)]
mod tests;
