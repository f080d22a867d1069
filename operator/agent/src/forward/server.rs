//! The listener on loopback: plain HTTP/1.1, the only mirror that the node's runtime ever sees.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::Forwarder;

/// How long a connection may wait for its next request: longer than the 30 s for which containerd keeps them.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// Connections at once; more are closed at once, at which a runtime goes upstream.
const CONNECTIONS: usize = 1024;

/// Listens on a loopback address.
///
/// # Errors
/// When the address is taken, or the port is below 1024 and the process may not have it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A predecessor's closed connections must not keep its successor from the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Serves until `stop`, then lets the streams under way end within `drain`.
pub async fn serve(listener: TcpListener, forwarder: Arc<Forwarder>, stop: CancellationToken, drain: Duration) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
                        let connection = connection(stream, Arc::clone(&forwarder), &graceful);
                        connections.spawn(async move {
                            let _place = place;
                            connection.await;
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors: some connection has to end first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::info!(connections = connections.len(), "streams did not end in time and are cut");
    }
    connections.shutdown().await;
}

/// One connection, from its first request to its end.
fn connection(
    stream: TcpStream,
    forwarder: Arc<Forwarder>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let forwarder = Arc::clone(&forwarder);
        async move { Ok::<_, Infallible>(forwarder.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    }
}
