//! The server: binds, serves, stops.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::Router;
use prometheus_client::registry::Registry;
use tidepool_config::Storage;
use tidepool_runtime::admin::{self, Readiness};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Door, Logins, NoRandomness},
    admin::{Admin, DRAIN_WITHIN as ADMIN_WITHIN, Gauges, Port},
    config_source::{ConfigError, ConfigSource},
    layers::Stack,
    listen::{self, Arrival, CONNECTIONS, DRAIN_WITHIN, TurnAway, crowd::Crowd},
    metrics::{Listener, Metrics, ShedReason},
    pull::Puller,
    reload::{self, Reloader},
    routes::App,
    settings::{Settings, SettingsError, Stamps},
    store::{OpenError, Store},
    tasks::Tasks,
    upstream::Lookup,
};

/// How long background work may take to end after the transfers: with [`DRAIN_WITHIN`] and the admin port's
/// below Kubernetes' 30 s. It ends at its next wait.
const TASKS_WITHIN: Duration = Duration::from_secs(1);
const _: () = assert!(DRAIN_WITHIN.as_secs() + TASKS_WITHIN.as_secs() + ADMIN_WITHIN.as_secs() < 30);

/// A bound proxy, not serving yet.
#[derive(Debug)]
pub struct Server {
    clients: TcpListener,
    agents: Option<TcpListener>,
    admin: Option<Port>,
    /// What the admin server serves besides metrics and health.
    admin_routes: Router,
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
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration, or a file it names, cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Logins cannot be checked safely.
    #[error("access")]
    Access(#[from] NoRandomness),
    /// An address is taken or forbidden.
    #[error("{key}: cannot listen on {address}")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Server {
    /// Opens the store and binds the addresses; no upstream is asked, and nothing is scanned.
    ///
    /// `listen` defaults to `127.0.0.1:5000`, `admin` to none, `storage.path` to a folder in the user's cache directory.
    /// `tidepool_runtime::install_crypto` must have been called.
    ///
    /// # Errors
    /// A [`StartError`] that begins with the configuration's key.
    pub async fn bind(source: impl Into<ConfigSource>) -> Result<Self, StartError> {
        Self::bind_with(source, Lookup::default()).await
    }

    /// The same, with another way to find upstreams' addresses than the system's.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub async fn bind_with(source: impl Into<ConfigSource>, lookup: Lookup) -> Result<Self, StartError> {
        let source = source.into();
        let (seen, reading) = reload::read(&source, &Stamps::default());
        let (file, files) = reading?;
        let (metrics, tasks, mut registry) = (Metrics::default(), Tasks::default(), Registry::default());
        metrics.register(&mut registry);
        let settings = Settings::build(&file, &files, None, &metrics, &tasks, &lookup)?;
        source.log_as(&settings.log);
        let address = file.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], tidepool_config::names::MEMBER_PORT)));
        let clients = bind("listen", address).await?;
        let agents = match &file.agents {
            Some(agents) => Some(bind("agents.listen", agents.listen).await?),
            None => None,
        };
        let logins = Logins::new(metrics.clone(), &tasks)?;
        let admin = match file.admin {
            Some(address) => Some(Port::bind(address).await.map_err(|source| StartError::Listen {
                key: "admin",
                address,
                source,
            })?),
            None => None,
        };
        // Last: it starts tasks, which nobody would stop if one of the steps above failed.
        let Storage { path, limit } = file.storage.clone().unwrap_or_default();
        let path = path.or_else(default_store).ok_or(StartError::NoStore)?;
        let store = Store::open(path, limit.map(|limit| limit.0), metrics.store(), &tasks).await?;
        let puller = Puller::new(Arc::clone(&store), metrics.clone(), tasks.clone());
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let reloader = Reloader::new(
            source,
            &file,
            Arc::clone(&settings),
            Arc::clone(&store),
            metrics.clone(),
            tasks.clone(),
            lookup,
        );
        let port = Admin {
            begun: Instant::now(),
            settings: Arc::clone(&settings),
            report: reloader.report(),
            puller: Arc::clone(&puller),
            store: Arc::clone(&store),
            metrics: metrics.clone(),
        };
        registry.register_collector(Box::new(Gauges(port.clone())));
        tasks.spawn(reloader.keep(seen));
        let app = Arc::new(App { settings, logins, puller, metrics });
        Ok(Self { clients, agents, admin, admin_routes: port.router(), app, tasks, registry })
    }

    /// The address of the registry API.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.clients.local_addr()
    }

    /// The address of the registry API for node agents, where there is one.
    #[must_use]
    pub fn agents_addr(&self) -> Option<SocketAddr> {
        self.agents.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The address of metrics and health, where there is one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|port| port.local_addr().ok())
    }

    /// Serves until `stop` is cancelled; then not ready, accepting nothing, and at the end of the transfers in flight, or
    /// of 25 s, over.
    pub async fn run(self, stop: CancellationToken) {
        let (ready, admin_stop) = (Readiness::default(), CancellationToken::new());
        let routes = admin::router(self.registry, ready.clone()).merge(self.admin_routes);
        let metrics = self.app.metrics.clone();
        let admin = self.admin.map(|port| tokio::spawn(port.serve(routes, metrics, admin_stop.clone())));
        ready.set(true);
        let clients = accept_clients(self.clients, Arc::clone(&self.app), stop.clone());
        let agents = async {
            match self.agents {
                Some(listener) => accept_agents(listener, self.app, stop.clone()).await,
                None => JoinSet::new(),
            }
        };
        let (clients, agents) = tokio::join!(clients, agents);
        ready.set(false);
        tokio::join!(listen::drain(clients, DRAIN_WITHIN), listen::drain(agents, DRAIN_WITHIN));
        if tokio::time::timeout(TASKS_WITHIN, self.tasks.stop()).await.is_err() {
            tracing::warn!("stopping with background work that does not end");
        }
        admin_stop.cancel();
        if let Some(task) = admin {
            // An error is the end of the task with all its connections.
            listen::drain(task.await.unwrap_or_default(), ADMIN_WITHIN).await;
        }
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}

async fn accept_clients(listener: TcpListener, app: Arc<App>, stop: CancellationToken) -> JoinSet<()> {
    let metrics = app.metrics.clone();
    let crowd = Crowd::new(Listener::Clients, ShedReason::Connections, CONNECTIONS, metrics.clone());
    let stack = Stack::new(app, Door::Clients);
    let serve = |Arrival { stream, address, place }: Arrival| {
        let (stack, stop, counted) = (stack.clone(), stop.clone(), metrics.connection(Listener::Clients));
        async move {
            let lender = stream.get_ref().lender();
            let answer = |request| stack.clone().answer(address, request);
            listen::serve_http(stream, Some(lender), answer, stop.cancelled()).await;
            drop((place, counted));
        }
    };
    listen::accept(listener, stop.clone(), crowd, TurnAway::Tell, serve).await
}

async fn accept_agents(listener: TcpListener, app: Arc<App>, stop: CancellationToken) -> JoinSet<()> {
    let (settings, metrics) = (Arc::clone(&app.settings), app.metrics.clone());
    let stack = Stack::new(app, Door::Agents);
    listen::agents::accept_agents(listener, settings, stack, stop, metrics).await
}

/// `$XDG_CACHE_HOME/tidepool/store`, or `~/.cache/tidepool/store`.
fn default_store() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("tidepool/store"))
}
