//! The admin server: `/metrics` for Prometheus, `/livez` and `/readyz` for the kubelet.
//!
//! Plain HTTP without authentication, so it never listens where clients do.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

/// How long requests in flight may take to end once the server is told to stop. They are short; one half sent never ends.
pub const LINGER: Duration = Duration::from_secs(2);

/// Whether the process is ready, as its owner last said. Clones share one state; it starts as not ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether the process is ready.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why the admin server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address or the socket file is taken or forbidden.
    #[error("cannot listen on admin address {address}")]
    Bind {
        /// The address or path.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The listener broke.
    #[error("admin server failed")]
    Serve(#[source] io::Error),
}

/// A bound admin server, not serving yet.
#[derive(Debug)]
pub struct AdminServer {
    listener: Listener,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AdminServer {
    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`AdminError::Bind`] when the address cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| AdminError::Bind { address: address.to_string(), source })?;
        Ok(Self { listener: Listener::Tcp(listener) })
    }

    /// Listens on a Unix socket, replacing what a dead predecessor left there.
    ///
    /// # Errors
    /// [`AdminError::Bind`] when the path cannot be had.
    pub fn bind_unix(path: impl Into<PathBuf>) -> Result<Self, AdminError> {
        let path = path.into();
        let bind = || {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            UnixListener::bind(&path)
        };
        let listener = bind().map_err(|source| AdminError::Bind { address: path.display().to_string(), source })?;
        Ok(Self { listener: Listener::Unix(listener) })
    }

    /// The TCP address, where it is one.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Serves [`router`] and `more` until `stop` is cancelled, and requests in flight then for [`LINGER`] more.
    ///
    /// # Errors
    /// [`AdminError::Serve`] when the listener breaks.
    pub async fn serve(
        self,
        metrics: Registry,
        ready: Readiness,
        more: Router,
        stop: CancellationToken,
    ) -> Result<(), AdminError> {
        let app = router(metrics, ready).merge(more);
        let stopped = stop.clone().cancelled_owned();
        let serving = async {
            match self.listener {
                Listener::Tcp(listener) => axum::serve(listener, app).with_graceful_shutdown(stopped).await,
                Listener::Unix(listener) => axum::serve(listener, app).with_graceful_shutdown(stopped).await,
            }
        };
        let lingered = async {
            stop.cancelled().await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            served = serving => served.map_err(AdminError::Serve),
            () = lingered => Ok(()),
        }
    }
}

/// The routes every process has.
pub fn router(metrics: Registry, ready: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(ready))
        .route("/metrics", get(render).with_state(Arc::new(metrics)))
}

async fn readyz(State(ready): State<Readiness>) -> (StatusCode, &'static str) {
    if ready.get() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn render(State(metrics): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn get(path: &std::path::Path, route: &str) -> String {
        let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
        stream
            .write_all(format!("GET {route} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn ready_follows_its_owner_and_the_socket_of_a_dead_process_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        drop(AdminServer::bind_unix(&path).unwrap());
        let (ready, stop) = (Readiness::default(), CancellationToken::new());
        let server = AdminServer::bind_unix(&path).unwrap();
        let task = tokio::spawn(server.serve(Registry::default(), ready.clone(), Router::new(), stop.clone()));
        assert!(get(&path, "/readyz").await.starts_with("HTTP/1.1 503"));
        ready.set(true);
        assert!(get(&path, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(&path, "/metrics").await.contains("# EOF"));
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_finished_does_not_hold_up_the_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let stop = CancellationToken::new();
        let server = AdminServer::bind_unix(&path).unwrap();
        let task = tokio::spawn(server.serve(Registry::default(), Readiness::default(), Router::new(), stop.clone()));
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        stop.cancel();
        tokio::time::timeout(2 * LINGER, task).await.expect("it hangs").unwrap().unwrap();
    }
}
