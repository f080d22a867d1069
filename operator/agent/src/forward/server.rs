//! The listener on loopback: plain HTTP/1.1, the only mirror that the node's runtime ever sees.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Forwarder, Mark, ReplyBody, self_check::MARK, turn_away::turn_away};

/// How long a connection may wait for its next request: longer than the 30 s for which containerd keeps them.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// Connections at once; more are told 503 at once, at which a runtime goes upstream. Each may hold some 200 KiB for a slow
/// runtime (what is queued, read ahead and encrypted), and all of them are to fit in the pod's memory, beside `room` for manifests.
const CONNECTIONS: usize = 400;
/// Above so many bytes that wait to be written nothing is added: what a slow runtime costs.
const MOST_QUEUED: usize = 128 << 10;
/// How many are told so at once, within milliseconds unless they ask nothing. Still more wait for a place in the kernel's
/// queue, of 1024, two seconds at most: to take them in and close them unheard would reset them.
const TURNED_AWAY: usize = 256;
/// How long the request of a connection that was just made may be on its way: closed sooner it would go unanswered.
const FIRST_REQUEST: Duration = Duration::from_millis(100);

/// Listens on a loopback address, beside other agents that do the same.
///
/// # Errors
/// When the address is taken, or the port is below 1024 and the process may not have it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A predecessor's closed connections must not keep its successor from the port, nor its listener until it hands over.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Serves until `stop`, then lets the streams under way end within `drain`.
pub async fn serve(
    listener: Arc<TcpListener>,
    forwarder: Arc<Forwarder>,
    mark: Mark,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut connections = Connections::new(forwarder, mark);
    loop {
        let places = connections.places.clone();
        tokio::select! {
            arrived = places.arrival(&listener) => match arrived {
                Ok((stream, place)) => connections.admit(stream, place),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors: some connection has to end first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.tasks.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    connections.admit_waiting(listener);
    connections.end(drain).await;
}

/// Where connections may be. Clones share the places.
#[derive(Clone)]
struct Places {
    room: Arc<Semaphore>,
    /// For those for whom there is no room.
    door: Arc<Semaphore>,
}

/// A connection's place, for as long as it lives.
struct Place {
    /// Whether it is one at the door.
    turned_away: bool,
    _permit: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        let [room, door] = [CONNECTIONS, TURNED_AWAY].map(|places| Arc::new(Semaphore::new(places)));
        Self { room, door }
    }
}

impl Places {
    /// The next connection, once there is a place for it.
    async fn arrival(&self, listener: &TcpListener) -> io::Result<(TcpStream, Place)> {
        let place = tokio::select! {
            biased;
            Ok(_permit) = Arc::clone(&self.room).acquire_owned() => Place { turned_away: false, _permit },
            Ok(_permit) = Arc::clone(&self.door).acquire_owned() => Place { turned_away: true, _permit },
            else => return Err(io::Error::other("the listener has ended")),
        };
        let (stream, _) = listener.accept().await?;
        // Somebody may have left meanwhile.
        let better = if place.turned_away { self.in_room() } else { None };
        Ok((stream, better.unwrap_or(place)))
    }

    /// A place, if there is one now.
    fn free(&self) -> Option<Place> {
        let at_door = || Arc::clone(&self.door).try_acquire_owned().ok();
        self.in_room().or_else(|| at_door().map(|_permit| Place { turned_away: true, _permit }))
    }

    fn in_room(&self) -> Option<Place> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok();
        permit.map(|_permit| Place { turned_away: false, _permit })
    }
}

/// Connections under way.
struct Connections {
    forwarder: Arc<Forwarder>,
    mark: Mark,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    places: Places,
}

impl Connections {
    fn new(forwarder: Arc<Forwarder>, mark: Mark) -> Self {
        let (tasks, places) = (JoinSet::new(), Places::default());
        Self { forwarder, mark, graceful: GracefulShutdown::new(), tasks, places }
    }

    fn admit(&mut self, stream: TcpStream, place: Place) {
        if place.turned_away {
            self.tasks.spawn(async move {
                turn_away(stream).await;
                drop(place);
            });
            return;
        }
        let connection = connection(stream, Arc::clone(&self.forwarder), self.mark.clone(), &self.graceful);
        self.tasks.spawn(async move {
            connection.await;
            drop(place);
        });
    }

    /// Admits what the kernel has accepted for the listener, and closes it: what waits there then would be reset.
    fn admit_waiting(&mut self, listener: Arc<TcpListener>) {
        // Not by the runtime, which may not have heard of the newest yet.
        let Some(Ok(listener)) = Arc::into_inner(listener).map(TcpListener::into_std) else { return };
        while let Ok((stream, _)) = listener.accept() {
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                let Some(place) = self.places.free() else { continue };
                self.admit(stream, place);
            }
        }
    }

    /// Closes connections that wait for a request, and the others after their reply, or when the time is over.
    async fn end(mut self, within: Duration) {
        tokio::time::sleep(FIRST_REQUEST.min(within)).await;
        if tokio::time::timeout(within, self.graceful.shutdown()).await.is_err() {
            tracing::info!(connections = self.tasks.len(), "streams did not end in time and are cut");
        }
        self.tasks.shutdown().await;
    }
}

/// One connection, from its first request to its end.
fn connection(
    stream: TcpStream,
    forwarder: Arc<Forwarder>,
    mark: Mark,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let (forwarder, mark) = (Arc::clone(&forwarder), mark.clone());
        async move { Ok::<_, Infallible>(answer(&forwarder, mark, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(MOST_QUEUED)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    }
}

async fn answer(forwarder: &Forwarder, mark: Mark, request: Request<Incoming>) -> Response<ReplyBody> {
    let asks = request.headers().contains_key(MARK);
    let mut response = forwarder.answer(request).await;
    if asks {
        response.headers_mut().insert(MARK, mark.0);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        forward::{Honored, Limits, Routings},
        metrics::Metrics,
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn connections() -> Connections {
        let forwarder =
            Forwarder::new(Arc::new(Routings::default()), Limits::default(), Metrics::default(), Honored::default());
        Connections::new(Arc::new(forwarder), Mark::default())
    }

    /// A runtime whose request is there, unread, before anybody looks.
    async fn runtime(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v2/a/manifests/1?ns=docker.io HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        stream
    }

    async fn is_told_503(mut runtime: TcpStream) {
        let mut text = String::new();
        runtime.read_to_string(&mut text).await.expect("reset");
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("UNAVAILABLE"), "{text}");
    }

    #[tokio::test]
    async fn n6_a_connection_too_many_is_told_503_and_ends_with_fin() {
        let mut connections = connections();
        let _taken =
            Arc::clone(&connections.places.room).try_acquire_many_owned(u32::try_from(CONNECTIONS).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let runtime = runtime(listener.local_addr().unwrap()).await;
        let (stream, place) = connections.places.arrival(&listener).await.unwrap();
        connections.admit(stream, place);
        is_told_503(runtime).await;
    }

    #[tokio::test]
    async fn n6_more_than_can_be_told_at_once_wait_and_are_told_too() {
        tidepool_runtime::raise_open_files();
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let forwarder = Arc::clone(&connections().forwarder);
        let serving = tokio::spawn(serve(listener, forwarder, Mark::default(), stop.clone(), Duration::ZERO));
        // They keep their places: these are connected, and ask nothing.
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS + TURNED_AWAY {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let mut runtimes = Vec::new();
        for _ in 0..TURNED_AWAY {
            runtimes.push(runtime(address).await);
        }
        for runtime in runtimes {
            is_told_503(runtime).await;
        }
        stop.cancel();
        serving.await.unwrap();
    }
}
