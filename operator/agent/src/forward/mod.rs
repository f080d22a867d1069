//! The forwarder: pulls that arrive on loopback go to the home member of what they ask for (design N6).
//!
//! - [`server`]: the listener, its connections and how they end.
//! - [`Forwarder`]: from a request to a reply, always within a deadline.
//! - `exchange`: one request to one member, and how long it may be silent.
//! - `links`, `connector`: connections to members, proven on both sides (design P14).
//! - `body`: a reply's body, which goes on with another member where one breaks.

mod answer;
mod body;
mod breaker;
mod connector;
mod exchange;
mod headers;
mod links;
mod member;
mod routing;
mod self_check;
pub mod server;
mod tls_failure;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tidepool_oci::{ErrorCode, Object, Route, Target, route};
use tokio::{sync::Notify, time::Instant};

use crate::{
    identity::Identity,
    metrics::{Metrics, Outcome},
};
use answer::error;
use body::{RelayBody, Resumer};
use exchange::{Ask, Exchange};

pub use body::{BodyError, ReplyBody};
pub use exchange::Limits;
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

/// Whether the node's runtime was seen to use the mirror; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Honored(Arc<(AtomicBool, Notify)>);

impl Honored {
    /// Notes that it was.
    pub fn set(&self) {
        if !self.0.0.swap(true, Ordering::AcqRel) {
            self.0.1.notify_one();
        }
    }

    /// Whether it was.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }

    /// Forgets it: the runtime is another one now.
    pub fn reset(&self) {
        self.0.0.store(false, Ordering::Release);
    }

    /// Waits until it is noted; one waiter.
    pub async fn noted(&self) {
        self.0.1.notified().await;
    }
}

impl Forwarder {
    /// A forwarder along `routings`.
    #[must_use]
    pub fn new(routings: Arc<Routings>, limits: Limits, metrics: Metrics, honored: Honored) -> Self {
        Self { exchange: Arc::new(Exchange::new(limits, metrics.clone())), routings, metrics, honored }
    }

    /// Takes a new identity: for connections from now on. What is under way ends well on the old ones.
    pub fn identify(&self, identity: Identity) {
        self.exchange.links.set(identity, &self.exchange.limits);
    }

    /// Whether there is an identity for a mirror's members.
    #[must_use]
    pub fn has_identity_for(&self, mirror_uid: &str) -> bool {
        self.exchange.links.of(mirror_uid).is_some()
    }

    /// Whether a member answers, asked on a connection of its own.
    pub async fn is_alive(&self, member: &Member) -> bool {
        self.exchange.is_alive(member).await
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
        let ns = namespace(request.uri().query().unwrap_or_default());
        let path = request.uri().path();
        if ns.is_none() && !matches!(path, "/v2/" | "/v2") {
            return error(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "no ?ns=<registry> in the request");
        }
        let object = match route(path, ns.as_deref(), |registry| routing.mirror_of(registry).is_some()) {
            Ok(Route::Base) => return answer::base(),
            Ok(Route::Object(object)) => object,
            Err(reason) => return error(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, &reason.to_string()),
        };
        self.note_runtime(&request);
        self.forward(&routing, &object, &request).await
    }

    /// A request of containerd for a registry of ours: the node's runtime reads our files.
    fn note_runtime(&self, request: &Request<Incoming>) {
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        if agent.is_some_and(|agent| agent.contains("containerd")) {
            self.honored.set();
        }
    }

    async fn forward(&self, routing: &Routing, object: &Object, request: &Request<Incoming>) -> Response<ReplyBody> {
        let Some(mirror) = routing.mirror_of(&object.registry) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "registry is not mirrored here");
        };
        let members = routing.members_for(mirror, &key(object));
        let ask = Ask::new(request);
        let reply = self.first_that_answers(&members, object, &ask).await;
        let outcome = reply.as_ref().map_or(Outcome::Bypassed, |reply| Outcome::of(reply.status()));
        self.metrics.count(mirror, outcome);
        reply.unwrap_or_else(unavailable)
    }

    /// Asks home, then the others; none when no member answers in time with what a runtime can use.
    async fn first_that_answers(
        &self,
        members: &[Arc<Member>],
        object: &Object,
        ask: &Ask,
    ) -> Option<Response<ReplyBody>> {
        let is_blob = matches!(object.target, Target::Blob(_));
        let deadline = Instant::now() + self.exchange.limits.headers(is_blob && ask.method == Method::GET);
        for (position, member) in members.iter().enumerate().filter(|(_, member)| member.may_be_asked()) {
            let Ok(reply) = self.exchange.ask(member, ask, deadline).await else { continue };
            if !headers::is_relayed(reply.status()) {
                tracing::debug!(member.id = member.id(), http.status = reply.status().as_u16(), "reply not relayed");
                return None;
            }
            if reply.status().is_success() && !headers::is_content(&object.target, reply.headers()) {
                tracing::debug!(member.id = member.id(), member.address = %member.address(), "no reply of a member");
                member.failed(false);
                continue;
            }
            return Some(self.relay(reply, members, position, is_blob, ask));
        }
        None
    }

    fn relay(
        &self,
        reply: Response<Incoming>,
        members: &[Arc<Member>],
        position: usize,
        is_blob: bool,
        ask: &Ask,
    ) -> Response<ReplyBody> {
        let (mut head, body) = reply.into_parts();
        head.headers = headers::for_runtime(&head.headers);
        if ask.method == Method::HEAD {
            return Response::from_parts(head, ReplyBody::empty());
        }
        let length = headers::content_length(&head.headers);
        // The others first: a member that breaks once is likely to break again.
        let rest = members.iter().cycle().skip(position + 1).take(members.len()).cloned().collect();
        let window = headers::window(head.status, &head.headers).filter(|_| is_blob);
        let resumer = window.map(|window| Resumer::new(Arc::clone(&self.exchange), ask.clone(), rest, window));
        let relay = RelayBody::new(body, length, resumer, self.exchange.limits.idle);
        Response::from_parts(head, ReplyBody::relay(relay))
    }
}

fn unavailable() -> Response<ReplyBody> {
    error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, "no member of the mirror can serve this now")
}

/// What decides the home member: a blob's digest, wherever it is used; otherwise the repository, so that an index and
/// its children live together.
fn key(object: &Object) -> String {
    match &object.target {
        Target::Blob(digest) => digest.to_string(),
        Target::Manifest(_) | Target::Tags | Target::Referrers(_) => {
            format!("{}/{}", object.registry, object.repository)
        }
    }
}

/// The registry that containerd names in the query.
fn namespace(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == "ns").map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests;
