//! Listeners: the clients' and the admin port's ([`serve_http`] on plain TCP), and the node agents' ([`agents`], TLS on both
//! sides).
//!
//! Each accepts within a bound of its own, so that a crowd of clients shuts out no node and no probe; all hold a connection
//! to the same deadlines, and end it the same way.

pub(crate) mod agents;
pub(crate) mod crowd;
mod head;
pub(crate) mod tls;
mod turn_away;

use std::{convert::Infallible, io, net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    send::{Lender, Outlet, buffers::BUFFER},
    write_deadline::WriteDeadline,
};
use crowd::{Crowd, Limits, Place};
use head::{HeadDeadline, Turn};
use turn_away::Refusal;

/// How long a connection may idle between requests: above the 30 s for which containerd keeps its own, so that it is never
/// us who close one in use.
const IDLE_WITHIN: Duration = Duration::from_secs(90);
/// How long a client may take to send the rest of a request's head: it is a packet or two.
pub(crate) const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The largest head of a request, a login and the longest name and digest included; larger ones get 431.
const LARGEST_HEAD: usize = 16 << 10;
/// Above so many bytes that wait to be written nothing is added: what a slow client costs, beside what TLS holds.
const MOST_QUEUED: usize = BUFFER;
/// How long a client may take nothing of an answer: more than the pauses of a node whose disk is busy.
const TAKEN_WITHIN: Duration = Duration::from_secs(120);
/// How long transfers may take to end once we are told to stop.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// Connections of one listener at once. The share is far more than a node needs, and what an Ingress may need for all.
pub(crate) const CONNECTIONS: Limits = Limits { most: 8192, share: 1024 };
/// Pause where file descriptors or memory have run out: to try again at once would keep a processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that came in.
pub(crate) struct Arrival {
    /// It cannot hold up a write for ever.
    pub(crate) stream: WriteDeadline<Outlet>,
    pub(crate) address: IpAddr,
    /// Its place among those that are taken in at once.
    pub(crate) place: Place,
}

/// What happens to a connection for which there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnAway {
    /// It is closed.
    Close,
    /// It is told when to come back, in HTTP.
    Tell,
}

/// Accepts connections until `stop` and has `serve` see to each; gives back those still open, which `serve` is to end when
/// told to stop. What `crowd` has no place for is turned away at once rather than left in the kernel's queue, where it
/// would wait without a word.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    stop: CancellationToken,
    crowd: Crowd,
    turn_away: TurnAway,
    serve: impl Fn(Arrival) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut connections, refusal) = (JoinSet::new(), Refusal::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match crowd.enter(peer.ip()) {
                Some(place) => {
                    // Answers are small or written in large pieces: waiting to fill packets gains nothing.
                    let _ = stream.set_nodelay(true);
                    let stream = WriteDeadline::new(Outlet::new(stream), TAKEN_WITHIN);
                    connections.spawn(serve(Arrival { stream, address: peer.ip(), place }));
                }
                None if turn_away == TurnAway::Tell => {
                    connections.spawn(refusal.clone().tell(stream));
                }
                None => {}
            },
            Err(error) if lasts(&error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // It was gone before we took it; those behind it are not to wait for that.
            Err(error) => tracing::debug!(%error, "cannot accept a connection"),
        }
    }
}

/// Whether an error is not of the connection, but will be there for the next one too.
fn lasts(error: &io::Error) -> bool {
    let ours = [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR, Errno::PROTO, Errno::PERM, Errno::TIMEDOUT];
    !Errno::from_io_error(error).is_some_and(|error| ours.contains(&error))
}

/// Serves one connection; once told to `stop`, to the end of the answer in flight. Where files can be lent to it, its
/// requests carry the `lender`.
pub(crate) async fn serve_http<A, F, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    lender: Option<Lender>,
    answer: A,
    stop: impl Future<Output = ()>,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    let turn = Turn::default();
    let stream = HeadDeadline::new(stream, HEAD_WITHIN, turn.clone());
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(lender) = &lender {
            request.extensions_mut().insert(lender.clone());
        }
        let (answering, answered) = (turn.answer(), answer(request));
        async { Ok::<_, Infallible>(answered.await.map(|body| answering.with(body))) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_WITHIN);
    builder.max_header_size(LARGEST_HEAD).max_buf_size(MOST_QUEUED);
    if lender.is_some() {
        builder.writev(true); // what is lent must never be copied into one buffer
    }
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // A client that left, or an answer that we broke off and logged.
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended early");
    }
}

/// Waits for the connections still open, then ends them.
pub(crate) async fn drain(mut connections: JoinSet<()>, within: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(within, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "stopping with transfers in flight");
        connections.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
