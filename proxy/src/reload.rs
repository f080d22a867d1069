//! Reads the configuration again when it or a file it names changes (P13).
//!
//! Looking costs a few system calls a second. What cannot be used leaves the old in use, and says so in the log, in a
//! metric and at `/state`. What a running process cannot change is such an error too: better a word than a surprise.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tidepool_config::{ProxyFile, ProxyState, UpstreamState};
use tidepool_runtime::with_causes;
use tokio::time::Instant;

use crate::{
    config_source::{ConfigError, ConfigSource},
    metrics::{Metrics, ReloadResult},
    settings::{Current, Files, Settings, SettingsError, Stamps, coherent, named},
    store::Store,
    tasks::{Tasks, lock},
    upstream::Lookup,
};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after a change files are read: longer than writing one takes.
const SETTLE: Duration = Duration::from_millis(50);
/// How often what could not be used is tried again though no file changed: reading may have failed for a moment.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// Keeps the settings in use as the files are.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: ConfigSource,
    /// What this process began with, for what cannot be changed while it runs.
    begun: Fixed,
    settings: Current,
    store: Arc<Store>,
    metrics: Metrics,
    tasks: Tasks,
    lookup: Lookup,
    report: Report,
}

/// Why a changed configuration is not in use. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(Arc<Mutex<Option<String>>>);

/// What only a new process can change.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    agents: Option<SocketAddr>,
    path: Option<PathBuf>,
}

impl Fixed {
    fn of(file: &ProxyFile) -> Self {
        Self {
            listen: file.listen,
            admin: file.admin,
            agents: file.agents.as_ref().map(|agents| agents.listen),
            path: file.storage.as_ref().and_then(|storage| storage.path.clone()),
        }
    }

    /// The key of the first difference.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let differences = [
            ("listen", self.listen != other.listen),
            ("admin", self.admin != other.admin),
            ("agents.listen", self.agents != other.agents),
            ("storage.path", self.path != other.path),
        ];
        differences.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
    }
}

/// Why a changed configuration cannot be used.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{0}: cannot be changed while the proxy runs, restart it")]
    Fixed(&'static str),
}

/// One reading of the configuration.
type Reading = Result<(ProxyFile, Files), ConfigError>;

impl Reloader {
    /// For `settings`, which were made of `begun`.
    pub(crate) fn new(
        source: ConfigSource,
        begun: &ProxyFile,
        settings: Current,
        store: Arc<Store>,
        metrics: Metrics,
        tasks: Tasks,
        lookup: Lookup,
    ) -> Self {
        metrics.config_in_use(true);
        Self { source, begun: Fixed::of(begun), settings, store, metrics, tasks, lookup, report: Report::default() }
    }

    pub(crate) fn report(&self) -> Report {
        self.report.clone()
    }

    /// Looks, and reads what changed since `seen`; for ever.
    pub(crate) async fn keep(self, mut seen: Stamps) {
        let reloader = Arc::new(self);
        let mut tried = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let failing = lock(&reloader.report.0).is_some() && tried.elapsed() >= RETRY_EVERY;
            let (it, before) = (Arc::clone(&reloader), seen.clone());
            // On a thread that may block, since files may lie on a slow disk.
            let looked = tokio::task::spawn_blocking(move || {
                let changed = failing || before.again() != before;
                changed.then(|| {
                    thread::sleep(SETTLE); // for who writes a file in place
                    read(&it.source, &before)
                })
            });
            if let Ok(Some((stamps, reading))) = looked.await {
                (seen, tried) = (stamps, Instant::now());
                reloader.take(reading);
            }
        }
    }

    /// Puts what was read into use, or says why not.
    fn take(&self, reading: Reading) {
        match self.replace(reading) {
            Ok(()) => {
                *lock(&self.report.0) = None;
                let revision = self.settings.load().revision.clone();
                tracing::info!(revision, "changed configuration in use");
                self.metrics.config_in_use(true);
                self.metrics.config_reload(ReloadResult::Ok);
            }
            Err(error) => {
                let text = with_causes(&error);
                let before = lock(&self.report.0).replace(text.clone());
                if before.as_ref() != Some(&text) {
                    tracing::error!(error = text, "changed configuration cannot be used, the old stays");
                }
                self.metrics.config_in_use(false);
                self.metrics.config_reload(ReloadResult::Failed);
            }
        }
    }

    fn replace(&self, reading: Reading) -> Result<(), ReloadError> {
        let (file, files) = reading?;
        if let Some(key) = Fixed::of(&file).differs(&self.begun) {
            return Err(ReloadError::Fixed(key));
        }
        let built =
            Settings::build(&file, &files, Some(&self.settings.load()), &self.metrics, &self.tasks, &self.lookup)?;
        self.store.set_limit(file.storage.and_then(|storage| storage.limit).map(|limit| limit.0));
        self.source.log_as(&built.log);
        let built = Arc::new(built);
        self.settings.swap(Arc::clone(&built)).give_way_to(&built);
        Ok(())
    }
}

/// Reads the configuration and what it names, all of one state. Where it cannot be read, `before` says which files may
/// mend it. Blocks.
pub(crate) fn read(source: &ConfigSource, before: &Stamps) -> (Stamps, Reading) {
    coherent(|| match source.read() {
        Ok(file) => {
            let files = Files::read(&file);
            let paths = source.path().into_iter().chain(named(&file)).collect();
            (paths, Ok((file, files)))
        }
        Err(error) => (before.paths(), Err(error)),
    })
}

impl Report {
    /// The state of the proxy, as the operator reads it.
    pub(crate) fn state(&self, settings: &Settings) -> ProxyState {
        let mut upstreams: Vec<UpstreamState> = settings.upstreams.values().map(|upstream| upstream.state()).collect();
        upstreams.sort_by(|one, other| one.registry.cmp(&other.registry));
        ProxyState { revision: settings.revision.clone(), reload_error: lock(&self.0).clone(), upstreams }
    }
}
