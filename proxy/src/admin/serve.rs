//! The admin port's connections: bounded and held to deadlines as those of the other listeners are, for whoever reaches the
//! pod reaches it too.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::purge::Peer;
use crate::{
    listen::{
        self, Arrival, TurnAway,
        crowd::{Crowd, Limits},
    },
    metrics::{Listener, Metrics, ShedReason},
};

/// Connections at once: a kubelet, operators, scrapers and people need a dozen, and no address has reason for more than a
/// share while half are taken.
const CONNECTIONS: Limits = Limits { most: 256, share: 32 };
/// How long requests in flight may take to end once we are told to stop: they are short.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// A bound admin port, not serving yet.
#[derive(Debug)]
pub(crate) struct Port(TcpListener);

impl Port {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves `routes` until `stop`; gives back the connections still open, which end after the answer in flight.
    pub(crate) async fn serve(self, routes: Router, metrics: Metrics, stop: CancellationToken) -> JoinSet<()> {
        let crowd = Crowd::new(Listener::Admin, ShedReason::Connections, CONNECTIONS, metrics.clone());
        let serve = |Arrival { stream, address, place }: Arrival| {
            let (stop, counted) = (stop.clone(), metrics.connection(Listener::Admin));
            let routes = TowerToHyperService::new(routes.clone());
            async move {
                let answer = |request: Request<hyper::body::Incoming>| {
                    let mut request = request.map(Body::new);
                    // So that routes can tell who asks.
                    request.extensions_mut().insert(Peer(address));
                    let answered = routes.call(request);
                    async { answered.await.unwrap_or_else(|never| match never {}) }
                };
                listen::serve_http(stream, None, answer, stop.cancelled()).await;
                drop((place, counted));
            }
        };
        listen::accept(self.0, stop.clone(), crowd, TurnAway::Tell, serve).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        time::{Instant, timeout},
    };

    async fn port() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<JoinSet<()>>) {
        let port = Port::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (address, stop) = (port.local_addr().unwrap(), CancellationToken::new());
        let routes = Router::new().route("/livez", get(|| async { "ok" }));
        (address, stop.clone(), tokio::spawn(port.serve(routes, Metrics::default(), stop)))
    }

    /// What is said to a question, to the end of the connection.
    async fn said(stream: &mut TcpStream, question: &str) -> String {
        let _ = stream.write_all(question.as_bytes()).await;
        let mut text = String::new();
        let _ = timeout(Duration::from_secs(20), stream.read_to_string(&mut text)).await.expect("it waits");
        text
    }

    const ASKED: &str = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn who_opens_connections_without_end_leaves_the_others_theirs() {
        let (address, _stop, _serving) = port().await;
        let mut crowd = Vec::new();
        for _ in 0..CONNECTIONS.most + 1 {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let told = said(crowd.last_mut().unwrap(), ASKED).await;
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        // The kubelet's address is another.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut kubelet = socket.connect(address).await.unwrap();
        let told = said(&mut kubelet, ASKED).await;
        assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with("ok"), "{told}");
    }

    #[tokio::test]
    async fn the_head_of_a_request_that_never_ends_is_cut() {
        let (address, _stop, _serving) = port().await;
        let (mut stream, began) = (TcpStream::connect(address).await.unwrap(), Instant::now());
        said(&mut stream, "GET /livez HTTP/1.1\r\nhost: a\r\n").await;
        assert!(began.elapsed() < listen::HEAD_WITHIN + Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_request_that_is_never_finished_does_not_hold_up_the_stop() {
        let (address, stop, serving) = port().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        stop.cancel();
        let open = serving.await.unwrap();
        let drained = listen::drain(open, DRAIN_WITHIN);
        timeout(2 * DRAIN_WITHIN, drained).await.expect("it hangs");
    }
}
