//! A cluster as tests use it: one that was started here, or one that `$KUBECONFIG` points to.

mod audit;
mod diagnose;
mod disturbance;
mod kubectl;
mod nodes;
mod outside;
mod paths;
mod pods;
mod power;
mod processes;
mod simulated;
mod start;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use audit::AuditEvent;
pub use disturbance::Disturbance;
pub use outside::Client;
pub use processes::Pods;
pub use watch::Watch;

use crate::certificates::{Authority, Certificate};
use crate::guard::{self, Guard};
use crate::kubernetes::node_options::NodeOptions;
use crate::machine::Machine;
use crate::registry::Registry;
use crate::stand_in::{self, Egress, Passage, StandIn};
use crate::state::State;
use crate::wait;

/// What kind of cluster to start.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many nodes; they are called `node1` and so on. 2 by default.
    pub nodes: usize,
    /// Those nodes that are no ordinary ones, by number. None by default.
    pub node_options: BTreeMap<usize, NodeOptions>,
    /// The stand-in registries. Docker Hub and ghcr.io by default.
    pub stand_ins: Vec<StandIn>,
    /// The way out, for stand-ins that are reached through it alone. None by default.
    pub egress: Option<Egress>,
    /// The state folder, which must not exist. A new one below `/tmp` by default.
    pub folder: Option<PathBuf>,
    /// Image archives that every node gets before it joins.
    pub archives: Vec<PathBuf>,
    /// Whether to say each step on standard error.
    pub verbose: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let stand_ins = vec![StandIn::docker_hub(), StandIn::ghcr()];
        let (egress, folder, archives) = (None, None, Vec::new());
        Self { nodes: 2, node_options: BTreeMap::new(), stand_ins, egress, folder, archives, verbose: false }
    }
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This machine cannot run one: a suite skips with this text.
    #[error("no cluster on this machine: {0}")]
    Unsupported(String),
    /// It should have started.
    #[error("cannot start a cluster")]
    Failed(#[source] anyhow::Error),
}

/// A running cluster. Dropping one that was started here takes it away.
#[derive(Debug)]
pub struct Cluster {
    access: Access,
}

#[derive(Debug)]
enum Access {
    Local(Local),
    External { kubeconfig: PathBuf },
}

/// A cluster in namespaces of this machine.
#[derive(Debug)]
struct Local {
    folder: PathBuf,
    state: State,
    owner: Option<Guard>,
}

impl Cluster {
    /// Starts a cluster, which lasts until the value is dropped or this process ends in whatever way.
    ///
    /// With `$TIDEPOOL_KEEP` set it stays up instead, for a look at what a failing test left.
    pub fn start(options: ClusterOptions) -> Result<Self, StartError> {
        if let Some(reason) = crate::tools::unsupported() {
            return Err(StartError::Unsupported(reason));
        }
        let local = start::start(options).map_err(StartError::Failed)?;
        let cluster = Self { access: Access::Local(local) };
        if std::env::var_os("TIDEPOOL_KEEP").is_none() {
            return Ok(cluster);
        }
        let folder = cluster.leave_up().map_err(StartError::Failed)?;
        eprintln!("TIDEPOOL_KEEP: tidepool-cluster down --dir {} takes this cluster away", folder.display());
        Self::open(&folder).map_err(StartError::Failed)
    }

    /// The cluster of `$KUBECONFIG`, or `None` without that variable.
    ///
    /// It is reached by `kubectl` and `helm` only: whatever needs nodes or stand-ins is an error, which
    /// [`Cluster::has_nodes`] foretells.
    pub fn from_kubeconfig() -> Option<Self> {
        let kubeconfig = PathBuf::from(std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty())?);
        Some(Self { access: Access::External { kubeconfig } })
    }

    /// The cluster of a suite: the one of `$KUBECONFIG`, else a new one.
    ///
    /// Where none can run this says so in one line that `tests/run.sh` repeats, and gives `None`; the test then
    /// returns. With `CI=true` that is an error, since a skipped suite proves nothing.
    pub fn for_suite(options: ClusterOptions) -> Result<Option<Self>> {
        if let Some(cluster) = Self::from_kubeconfig() {
            return Ok(Some(cluster));
        }
        match Self::start(options) {
            Ok(cluster) => Ok(Some(cluster)),
            Err(StartError::Unsupported(reason)) if std::env::var("CI").as_deref() != Ok("true") => {
                println!("SKIPPED: {}", StartError::Unsupported(reason));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The cluster that `tidepool-cluster up` left in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let state = State::read(folder)?;
        if !state.control_plane.is_alive() {
            bail!("the cluster in {} has ended: `tidepool-cluster down` removes what is left", folder.display());
        }
        Ok(Self { access: Access::Local(Local { folder: folder.to_path_buf(), state, owner: None }) })
    }

    /// Leaves the cluster up without an owner, and gives its state folder.
    pub fn leave_up(self) -> Result<PathBuf> {
        let Access::Local(mut local) = self.access else { bail!("only a cluster that was started here can be left") };
        if let Some(guard) = local.owner.take() {
            guard.release()?;
        }
        Ok(local.folder)
    }

    /// Takes away the cluster in `folder`, running or not.
    pub fn remove(folder: &Path) -> Result<()> {
        guard::tear_down(folder)
    }

    /// Whether nodes and stand-in registries can be touched: not in a cluster of `$KUBECONFIG`.
    pub fn has_nodes(&self) -> bool {
        matches!(self.access, Access::Local(_))
    }

    /// The state folder, with the components' logs in `cp/` and `node1/`, and the audit log in `cp/audit.log`.
    pub fn folder(&self) -> Result<&Path> {
        Ok(&self.local()?.folder)
    }

    /// A stand-in registry by name: `docker.io`.
    pub fn registry(&self, name: &str) -> Result<Registry<'_>> {
        let local = self.local()?;
        let stand_in = local.state.stand_ins.iter().find(|stand_in| stand_in.name == name);
        let stand_in = stand_in.with_context(|| format!("there is no stand-in for {name}"))?;
        Ok(Registry::new(&local.state.control_plane, stand_in, local.folder.join(start::REGISTRIES)))
    }

    /// The authority of the stand-in registries, PEM: what a `tls.caRef` must hold for a mirror to trust them.
    pub fn authority(&self) -> Result<String> {
        let file = self.local()?.folder.join(start::REGISTRIES).join(start::AUTHORITY);
        std::fs::read_to_string(file).context("cannot read the authority of the stand-ins")
    }

    /// A certificate of that authority for a server or client with these names.
    pub fn issue(&self, hosts: &[&str]) -> Result<Certificate> {
        let key = self.local()?.folder.join(start::REGISTRIES).join(start::AUTHORITY_KEY);
        let key = std::fs::read_to_string(key).context("cannot read the key of the stand-ins' authority")?;
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        Authority::open(start::AUTHORITY_NAME, &key)?.issue(hosts.first().map_or("", |host| host), &hosts)
    }

    /// Who went through the [`Egress`] so far.
    pub fn passages(&self) -> Result<Vec<Passage>> {
        stand_in::read_passages(&self.local()?.folder.join(start::REGISTRIES))
    }

    /// Asks `done` twice a second until it says yes; past `within` the error tells the state of the cluster too.
    pub fn wait_until(&self, within: Duration, what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
        wait::until(within, Duration::from_millis(500), what, done)
            .map_err(|error| error.context(format!("{}\nno {what} within {} s", self.diagnose(), within.as_secs())))
    }

    fn local(&self) -> Result<&Local> {
        match &self.access {
            Access::Local(local) => Ok(local),
            Access::External { kubeconfig } => {
                bail!("the cluster of {} has no nodes or stand-ins within reach", kubeconfig.display())
            }
        }
    }
}

impl Local {
    fn node(&self, number: usize) -> Result<&Machine> {
        let node = number.checked_sub(1).and_then(|index| self.state.nodes.get(index));
        node.with_context(|| format!("there is no node{number}"))
    }
}
