//! Everything of a configuration that a reload replaces, built from the file and the files it names at one time.
//!
//! Requests take one [`Settings`] from [`Current`] and keep to it; a reload puts another there.

mod agents;
mod files;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tidepool_config::{AnonymousPull, ProxyFile, UsersError, users};
use tidepool_oci::RegistryName;
use tidepool_runtime::{LogFilter, LogFilterError};

pub(crate) use agents::AgentsTls;
pub use files::FileError;
pub(crate) use files::{Files, Stamps, coherent, named};

use crate::{
    listen::tls::AgentsError,
    metrics::Metrics,
    tasks::Tasks,
    upstream::{ClientError, Egress, Entry, Lookup, Upstream},
};

/// The settings in use; a reload stores others.
pub(crate) type Current = Arc<ArcSwap<Settings>>;

/// What requests depend on and a reload replaces, as a whole.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The configuration's own word for its state.
    pub(crate) revision: Option<String>,
    /// Which events are logged, unless the command line says it.
    pub(crate) log: LogFilter,
    /// The registries that are mirrored.
    pub(crate) upstreams: HashMap<RegistryName, Arc<Upstream>>,
    /// Host names, in lower case, under which clients find one registry alone.
    pub(crate) hosts: HashMap<String, RegistryName>,
    /// Who may pull at the clients' listener.
    pub(crate) access: Access,
    /// The TLS of the agents' listener; none where there is no such listener.
    pub(crate) agents: Option<AgentsTls>,
}

/// Who may pull at the clients' listener. `Debug` shows no hash.
pub(crate) struct Access {
    pub(crate) anonymous_pull: AnonymousPull,
    /// Users and the bcrypt hashes of their passwords; none where nobody can log in.
    pub(crate) users: Option<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = self.users.as_ref().map(BTreeMap::len);
        f.debug_struct("Access").field("anonymous_pull", &self.anonymous_pull).field("users", &users).finish()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// What is to be logged is none that can be.
    #[error("logLevel")]
    Log(#[source] LogFilterError),
    /// An upstream's entry cannot be used.
    #[error("upstreams[{index}]")]
    Upstream {
        /// Position of the entry, from 0.
        index: usize,
        /// Why.
        source: ClientError,
    },
    /// The egress proxy's entry cannot be used.
    #[error("egressProxy")]
    Egress(#[source] ClientError),
    /// A file of `agents` or `access` cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The list of users is none.
    #[error("access.usersFile: {0}")]
    Users(#[from] UsersError),
    /// The agents' listener cannot have its TLS.
    #[error(transparent)]
    Agents(#[from] AgentsError),
}

impl Settings {
    /// Prepares everything; asks nobody anything. An upstream whose entry and files are as in `previous` is that one,
    /// with its connections, tokens and what is known of it.
    pub(crate) fn build(
        file: &ProxyFile,
        files: &Files,
        previous: Option<&Self>,
        metrics: &Metrics,
        tasks: &Tasks,
        lookup: &Lookup,
    ) -> Result<Self, SettingsError> {
        let log = file.log_level.as_deref().map(str::parse).transpose().map_err(SettingsError::Log)?;
        let egress = file.egress_proxy.as_ref().map(|egress| Egress::read(egress, files));
        let egress = egress.transpose().map_err(SettingsError::Egress)?;
        let (mut upstreams, mut hosts) = (HashMap::new(), HashMap::new());
        for (index, config) in file.upstreams.iter().enumerate() {
            let made = Entry::read(config, egress.as_ref(), files).and_then(|entry| {
                let before = previous.and_then(|previous| previous.upstreams.get(&config.registry));
                match before.filter(|before| before.is_of(&entry)) {
                    Some(same) => Ok(Arc::clone(same)),
                    None => Upstream::new(entry, metrics.clone(), tasks, lookup).map(Arc::new),
                }
            });
            let upstream = made.map_err(|source| SettingsError::Upstream { index, source })?;
            upstreams.insert(config.registry.clone(), upstream);
            if let Some(host) = &config.host {
                hosts.insert(host.to_ascii_lowercase(), config.registry.clone());
            }
        }
        let agents = AgentsTls::read(file, files, previous.and_then(|previous| previous.agents.as_ref()))?;
        let access = access(file, files)?;
        let log = log.unwrap_or_default();
        Ok(Self { revision: file.revision.clone(), log, upstreams, hosts, access, agents })
    }
}

fn access(file: &ProxyFile, files: &Files) -> Result<Access, SettingsError> {
    let access = file.access.clone().unwrap_or_default();
    let users = match &access.users_file {
        Some(path) => Some(users(files.get("access.usersFile", path)?)?),
        None => None,
    };
    Ok(Access { anonymous_pull: access.anonymous_pull, users })
}
