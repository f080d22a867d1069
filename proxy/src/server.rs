//! The server: binds, serves, stops.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::registry::Registry;
use tidepool_config::{ProxyFile, Storage};
use tidepool_runtime::admin::{AdminError, AdminServer, LINGER, Readiness};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    layers,
    metrics::Metrics,
    pull::Puller,
    routes::App,
    settings::{Files, Settings, SettingsError},
    store::{OpenError, Store},
    tasks::Tasks,
    write_deadline::WriteDeadline,
};

/// How long a client may take to send a request's head, and how long a connection may idle between requests: above the
/// 30 s for which containerd keeps its own, so that it is never us who close one in use.
const HEAD_WITHIN: Duration = Duration::from_secs(90);
/// How long a client may take nothing of an answer: more than the pauses of a node whose disk is busy.
const TAKEN_WITHIN: Duration = Duration::from_secs(120);
/// How long transfers may take to end once we are told to stop: with [`TASKS_WITHIN`] and the admin server's
/// [`LINGER`] below Kubernetes' 30 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// How long background work may take to end after them; it ends at its next wait.
const TASKS_WITHIN: Duration = Duration::from_secs(1);
const _: () = assert!(DRAIN_WITHIN.as_secs() + TASKS_WITHIN.as_secs() + LINGER.as_secs() < 30);
/// Connections at once; further ones wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 8192;
/// Pause after a failure to accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound proxy, not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin: Option<AdminServer>,
    app: Arc<App>,
    tasks: Tasks,
    registry: Registry,
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration names no folder for the store.
    #[error("storage.path: names no folder, and there is no home folder to use instead")]
    NoStore,
    /// The store cannot be used.
    #[error("storage.path")]
    Store(#[from] OpenError),
    /// The configuration, or a file it names, cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address is taken or forbidden.
    #[error("listen: cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin address is taken or forbidden.
    #[error("admin")]
    Admin(#[from] AdminError),
}

impl Server {
    /// Opens the store and binds the addresses; no upstream is asked, and nothing is scanned.
    ///
    /// `listen` defaults to `127.0.0.1:5000`, `admin` to none, `storage.path` to a folder in the user's cache directory.
    /// `tidepool_runtime::install_crypto` must have been called.
    ///
    /// # Errors
    /// A [`StartError`] that begins with the configuration's key.
    pub async fn bind(file: &ProxyFile) -> Result<Self, StartError> {
        let (metrics, tasks, mut registry) = (Metrics::default(), Tasks::default(), Registry::default());
        metrics.register(&mut registry);
        let settings = Settings::build(file, &Files::read(file), &metrics, &tasks)?;
        let address = file.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], tidepool_config::names::MEMBER_PORT)));
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| StartError::Listen { address, source })?;
        let admin = match file.admin {
            Some(address) => Some(AdminServer::bind(address).await?),
            None => None,
        };
        // Last: it starts tasks, which nobody would stop if one of the steps above failed.
        let Storage { path, limit } = file.storage.clone().unwrap_or_default();
        let path = path.or_else(default_store).ok_or(StartError::NoStore)?;
        let store = Store::open(path, limit.map(|limit| limit.0), metrics.store_bytes(), &tasks).await?;
        let puller = Puller::new(store, metrics.clone(), tasks.clone());
        let app = Arc::new(App { settings: Arc::new(ArcSwap::from_pointee(settings)), puller, metrics });
        Ok(Self { listener, admin, app, tasks, registry })
    }

    /// The address of the registry API.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address of metrics and health, where there is one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(AdminServer::local_addr)
    }

    /// Serves until `stop` is cancelled; then not ready, accepting nothing, and at the end of the transfers in flight, or
    /// of 25 s, over.
    ///
    /// # Errors
    /// When the admin server breaks.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AdminError> {
        let (ready, admin_stop) = (Readiness::default(), CancellationToken::new());
        let admin = self
            .admin
            .map(|admin| tokio::spawn(admin.serve(self.registry, ready.clone(), Router::new(), admin_stop.clone())));
        ready.set(true);
        let serve = accept(self.listener, layers::stack(self.app), stop.clone());
        let connections = serve.await;
        ready.set(false);
        drain(connections).await;
        if tokio::time::timeout(TASKS_WITHIN, self.tasks.stop()).await.is_err() {
            tracing::warn!("stopping with background work that does not end");
        }
        admin_stop.cancel();
        match admin {
            Some(task) => task.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

/// Accepts connections until `stop`; gives back those still open, which have been asked to end.
async fn accept(listener: TcpListener, app: Router, stop: CancellationToken) -> JoinSet<()> {
    let (mut connections, slots) = (JoinSet::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((slot, listener.accept().await?.0))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((slot, stream)) => {
                let serving = connection(stream, app.clone(), stop.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection; once told to stop, to the end of the answer in flight.
async fn connection(stream: TcpStream, app: Router, stop: CancellationToken) {
    // Answers are small or written in large pieces: waiting to fill packets gains nothing.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(app);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let serving = builder.serve_connection(TokioIo::new(WriteDeadline::new(stream, TAKEN_WITHIN)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
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
async fn drain(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "stopping with transfers in flight");
        connections.shutdown().await;
    }
}

/// `$XDG_CACHE_HOME/tidepool/store`, or `~/.cache/tidepool/store`.
fn default_store() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("tidepool/store"))
}
