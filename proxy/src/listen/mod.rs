//! Listeners: the clients' ([`serve_http`] on plain TCP) and the node agents' ([`agents`], TLS on both sides).
//!
//! Both accept within a bound of their own, so that a crowd of clients shuts out no node; both hold a connection to the
//! same deadlines, and end it the same way.

pub(crate) mod agents;
mod handshakes;
pub(crate) mod tls;

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use axum::response::Response;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    send::{Lender, Outlet},
    write_deadline::WriteDeadline,
};

/// How long a client may take to send a request's head, and how long a connection may idle between requests: above the
/// 30 s for which containerd keeps its own, so that it is never us who close one in use.
const HEAD_WITHIN: Duration = Duration::from_secs(90);
/// How long a client may take nothing of an answer: more than the pauses of a node whose disk is busy.
const TAKEN_WITHIN: Duration = Duration::from_secs(120);
/// How long transfers may take to end once we are told to stop.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// Connections of one listener at once.
pub(crate) const MOST_CONNECTIONS: usize = 8192;
/// Pause after a failure to accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that came in.
pub(crate) struct Arrival {
    /// It cannot hold up a write for ever.
    pub(crate) stream: WriteDeadline<Outlet>,
    pub(crate) address: IpAddr,
    /// Its place among those that are taken in at once.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Accepts connections until `stop`, `most` at once while further ones wait in the kernel's queue, and has `serve` see to
/// each; gives back those still open, which `serve` is to end when told to stop.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    stop: CancellationToken,
    most: usize,
    serve: impl Fn(Arrival) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut connections, slots) = (JoinSet::new(), Arc::new(Semaphore::new(most)));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((slot, listener.accept().await?))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((slot, (stream, peer))) => {
                // Answers are small or written in large pieces: waiting to fill packets gains nothing.
                let _ = stream.set_nodelay(true);
                let stream = WriteDeadline::new(Outlet::new(stream), TAKEN_WITHIN);
                connections.spawn(serve(Arrival { stream, address: peer.ip(), slot }));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection; once told to `stop`, to the end of the answer in flight. Where files can be lent to it, its
/// requests carry the `lender`.
pub(crate) async fn serve_http<A, F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    lender: Option<Lender>,
    answer: A,
    stop: impl Future<Output = ()>,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response>,
{
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(lender) = &lender {
            request.extensions_mut().insert(lender.clone());
        }
        let answered = answer(request);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
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
pub(crate) async fn drain(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "stopping with transfers in flight");
        connections.shutdown().await;
    }
}
