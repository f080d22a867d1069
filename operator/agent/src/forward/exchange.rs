//! One request to one member: connecting, waiting for the headers, and telling a slow member from a dead one.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, uri::PathAndQuery};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Member, TlsFailure, headers, links::Links};
use crate::metrics::Metrics;

/// How long things may take. A runtime waits 30 s for headers at best, and for ever at worst.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a member accepts a connection.
    pub connect: Duration,
    /// Until a connection is there and both sides are proven: longer than a silence, so that a slow member's health
    /// decides, and shorter than two, so that one who never says who it is is told apart.
    pub handshake: Duration,
    /// How long a member may be silent until it is asked for its health, and then to answer that.
    pub silence: Duration,
    /// Until the headers of a HEAD or a manifest, all members together; a member's own limit is 8 s.
    pub small: Duration,
    /// Until the headers of a blob, all members together; a member's own limit is 15 s.
    pub blob: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            handshake: Duration::from_millis(1500),
            silence: Duration::from_secs(1),
            small: Duration::from_secs(10),
            blob: Duration::from_secs(17),
            idle: Duration::from_secs(30),
        }
    }
}

impl Limits {
    pub(super) fn headers(&self, is_blob: bool) -> Duration {
        if is_blob { self.blob } else { self.small }
    }
}

/// What is asked, of whichever member.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
}

impl Ask {
    pub(super) fn new(request: &Request<Incoming>) -> Self {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self { method: request.method().clone(), path, headers: headers::for_member(request.headers()) }
    }

    fn to(&self, member: &Member) -> Result<Request<Empty<Bytes>>, http::Error> {
        let uri = Uri::builder().scheme("https").authority(member.address().to_string());
        let mut request =
            Request::builder().method(self.method.clone()).uri(uri.path_and_query(self.path.clone()).build()?);
        if let Some(headers) = request.headers_mut() {
            *headers = self.headers.clone();
        }
        request.body(Empty::new())
    }
}

/// Why a member gave no headers.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("request cannot be written")]
    Request(#[from] http::Error),
    #[error("no identity for the member's mirror yet")]
    NoIdentity,
    #[error("cannot connect")]
    Connect(#[source] legacy::Error),
    #[error("connection closed before the headers")]
    Closed(#[source] legacy::Error),
    #[error("silent, and no answer about its health")]
    Dead,
    #[error("no headers within the deadline")]
    Deadline,
}

/// Asks members, each by the connections of its mirror; never through a proxy.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) links: Links,
}

impl Exchange {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self { limits, metrics, links: Links::default() }
    }

    /// Asks a member; what it says of its health goes into its breaker.
    pub(super) async fn ask(
        &self,
        member: &Member,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Response<Incoming>, AskError> {
        let mut asked = self.ask_once(member, ask, deadline).await;
        // A kept connection may have been closed by the member just as we wrote.
        if let Err(AskError::Closed(_)) = asked {
            asked = self.ask_once(member, ask, deadline).await;
        }
        match &asked {
            Ok(_) => member.answered(),
            // Who asked for its health has noted what came of it; without an identity nobody was asked.
            Err(AskError::Request(_) | AskError::NoIdentity | AskError::Dead) => {}
            Err(error @ (AskError::Connect(_) | AskError::Closed(_) | AskError::Deadline)) => {
                self.failed(member, error)
            }
        }
        asked
    }

    fn failed(&self, member: &Member, error: &(dyn Error + 'static)) {
        let tls = TlsFailure::behind(error);
        if let Some(tls) = tls {
            self.metrics.count_tls_failure(tls);
        }
        member.failed(tls.is_some_and(TlsFailure::is_distrust));
        tracing::debug!(member.id = member.id(), member.address = %member.address(), error, ?tls, "member failed");
    }

    async fn ask_once(&self, member: &Member, ask: &Ask, deadline: Instant) -> Result<Response<Incoming>, AskError> {
        // Held until the headers: a new identity meanwhile is none of this request's business.
        let link = self.links.of(member.mirror_uid()).ok_or(AskError::NoIdentity)?;
        let mut sent = std::pin::pin!(link.pooled.request(ask.to(member)?));
        let failed = |error: legacy::Error| {
            if error.is_connect() { AskError::Connect(error) } else { AskError::Closed(error) }
        };
        loop {
            let patience = (Instant::now() + self.limits.silence).min(deadline);
            if let Ok(reply) = timeout_at(patience, &mut sent).await {
                return reply.map_err(failed);
            }
            if Instant::now() >= deadline {
                return Err(AskError::Deadline);
            }
            tokio::select! {
                reply = &mut sent => return reply.map_err(failed),
                alive = self.is_alive(member) => if !alive {
                    return Err(AskError::Dead);
                }
            }
        }
    }

    /// Whether a member answers `GET /v2/` as a registry, on a connection of its own. Who asks while another asks hears the same.
    pub(super) async fn is_alive(&self, member: &Member) -> bool {
        let began = Instant::now();
        let mut checked = member.checked.lock().await;
        if let Some((_, alive)) = checked.filter(|(at, _)| *at >= began) {
            return alive;
        }
        let ask = Ask { method: Method::GET, path: PathAndQuery::from_static("/v2/"), headers: HeaderMap::new() };
        let (Some(link), Ok(request)) = (self.links.of(member.mirror_uid()), ask.to(member)) else { return false };
        let reply = timeout(self.limits.silence, link.fresh.request(request)).await;
        let is_registry = |reply: &Response<Incoming>| {
            reply.status() == http::StatusCode::OK && reply.headers().contains_key(headers::API_VERSION)
        };
        let alive = matches!(&reply, Ok(Ok(reply)) if is_registry(reply));
        match &reply {
            Ok(Ok(_)) if alive => member.answered(),
            Ok(Ok(_)) => member.failed(false),
            Ok(Err(error)) => self.failed(member, error),
            Err(error) => self.failed(member, error),
        }
        *checked = Some((Instant::now(), alive));
        alive
    }
}
