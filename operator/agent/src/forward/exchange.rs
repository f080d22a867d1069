//! One request to one member: connecting, waiting for the headers, and telling a slow member from a dead one.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{Fuse, FusedFuture as _, FutureExt as _};
use http::{HeaderMap, Method, Request, Response, Uri, uri::PathAndQuery};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    Limits, Member,
    alive::A_MOMENT,
    headers,
    links::{Connections, Links},
    room::Room,
};
use crate::metrics::Metrics;

/// What is asked, of whichever member.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    /// Whether a blob's bytes are wanted: a member may take longer until it has the first.
    pub(super) is_blob: bool,
}

impl Ask {
    pub(super) fn new(request: &Request<Incoming>, is_blob: bool) -> Self {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self { method: request.method().clone(), path, headers: headers::for_member(request.headers()), is_blob }
    }

    pub(super) fn to(&self, member: &Member) -> Result<Request<Empty<Bytes>>, http::Error> {
        let uri = Uri::builder().scheme("https").authority(member.address().to_string());
        let mut request =
            Request::builder().method(self.method.clone()).uri(uri.path_and_query(self.path.clone()).build()?);
        if let Some(headers) = request.headers_mut() {
            *headers = self.headers.clone();
        }
        request.body(Empty::new())
    }
}

/// Why a member gave no answer, or not all of it.
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
    #[error("body stalls or breaks off")]
    Body,
    #[error("too many large replies are on their way to the runtime")]
    Crowded,
}

/// Asks members, each by the connections of its mirror; never through a proxy.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) links: Links,
    /// Where replies that are taken whole have their bytes.
    pub(super) room: Room,
    /// Told of each failure of a member: the background health has work.
    pub(super) failures: Notify,
}

impl Exchange {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self { limits, metrics, links: Links::default(), room: Room::default(), failures: Notify::new() }
    }

    /// Asks a member for headers; how it does goes into its breaker. `peers` are the mirror's members.
    pub(super) async fn ask(
        &self,
        member: &Member,
        peers: &[Arc<Member>],
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Response<Incoming>, AskError> {
        let began = Instant::now();
        let asked = Attempt { exchange: self, member, peers, ask, began, deadline }.run().await;
        match &asked {
            Ok(_) => member.is_well(),
            // Who asked for its health has noted what came of it; without an identity nobody was asked; what becomes of a
            // body is noted by who takes it.
            Err(AskError::Request(_) | AskError::NoIdentity | AskError::Dead | AskError::Body | AskError::Crowded) => {}
            // It answers about its health, and kept none of its own deadlines.
            Err(AskError::Deadline) if began.elapsed() >= self.limits.blame_after(ask.is_blob) => member.misbehaved(),
            Err(AskError::Deadline) => {}
            Err(error @ (AskError::Connect(_) | AskError::Closed(_))) => self.failed(member, error),
        }
        asked
    }

    /// Asks a member on a connection of its own, without a word about how long it may take.
    pub(super) async fn ask_apart(&self, member: &Member, ask: &Ask) -> Result<Response<Incoming>, AskError> {
        let link = self.links.of(member.mirror_uid()).ok_or(AskError::NoIdentity)?;
        send(&link.fresh, ask.to(member)?).await
    }
}

async fn send(connections: &Connections, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, AskError> {
    let reply = connections.request(request).await;
    reply.map_err(|error| if error.is_connect() { AskError::Connect(error) } else { AskError::Closed(error) })
}

/// One request to one member, and where that is silent a second beside it.
struct Attempt<'a> {
    exchange: &'a Exchange,
    member: &'a Member,
    peers: &'a [Arc<Member>],
    ask: &'a Ask,
    began: Instant,
    deadline: Instant,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Response<Incoming>, AskError> {
        // Held until the headers: a new identity meanwhile is none of this request's business.
        let link = self.exchange.links.of(self.member.mirror_uid()).ok_or(AskError::NoIdentity)?;
        let mut died = pin!(self.member.died.notified());
        died.as_mut().enable();
        let mut first = pin!(send(&link.pooled, self.ask.to(self.member)?).fuse());
        let mut second = pin!(Fuse::terminated());
        let mut patience = self.exchange.limits.silence;
        let mut question = pin!(self.question(patience));
        let (mut asked_twice, mut asked_health) = (false, false);
        loop {
            let reply = tokio::select! {
                reply = &mut first => reply,
                reply = &mut second => reply,
                () = &mut died => {
                    // It may be this request that asked, and its peers too: to leave before they are heard would be to
                    // ask the next, which died as well, from the start.
                    let _ = timeout(A_MOMENT, question).await;
                    return Err(AskError::Dead);
                }
                there = &mut question => {
                    if !there? {
                        return Err(AskError::Dead);
                    }
                    asked_health = true;
                    patience = self.exchange.limits.more_patience(patience);
                    question.set(self.question(patience));
                    // It may be this connection that is dead. A member that waits for its upstream lets the second
                    // request wait with the first.
                    if !asked_twice {
                        asked_twice = true;
                        second.set(send(&link.fresh, self.ask.to(self.member)?).fuse());
                    }
                    continue;
                }
            };
            match reply {
                Ok(reply) => return Ok(reply),
                // A kept connection may have been closed by the member just as we wrote.
                Err(AskError::Closed(_)) if !asked_twice => {
                    asked_twice = true;
                    second.set(send(&link.fresh, self.ask.to(self.member)?).fuse());
                }
                Err(_) if !(first.is_terminated() && second.is_terminated()) && asked_twice => {}
                Err(error) => {
                    if !asked_health && self.began.elapsed() >= patience {
                        // Its peers are being asked too: what becomes of that saves the next a second.
                        let _ = question.await;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Waits for as long as a member may be silent, and then for word of its health.
    async fn question(&self, patience: Duration) -> Result<bool, AskError> {
        sleep_until((Instant::now() + patience).min(self.deadline)).await;
        let there = self.exchange.is_there(self.member, self.peers, self.began);
        timeout_at(self.deadline, there).await.map_err(|_| AskError::Deadline)
    }
}
