//! The state folder of a cluster, `/tmp/tidepool-<id>`: short, since Unix sockets below it must fit 108 bytes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::guard;
use crate::machine::Machine;
use crate::process::Process;
use crate::stand_in::StandIn;

const PREFIX: &str = "tidepool-";
const FOLDERS: &str = "/tmp";
/// A folder without an init that is older than this belongs to an owner that died while starting.
const STARTING: Duration = Duration::from_secs(120);

/// What another process must know to talk to a running cluster: `<dir>/state.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The control plane.
    pub(crate) control_plane: Machine,
    /// The nodes, `node1` first.
    pub(crate) nodes: Vec<Machine>,
    /// The registries that stand in for real ones.
    pub(crate) stand_ins: Vec<StandIn>,
}

impl State {
    /// Makes an empty state folder, with a name of its own unless one is given.
    pub(crate) fn make_folder(wanted: Option<PathBuf>) -> Result<PathBuf> {
        let id = random_id()?;
        let dir = wanted.unwrap_or_else(|| Path::new(FOLDERS).join(format!("{PREFIX}{id}")));
        // Not `create_dir_all`: a folder that exists belongs to somebody.
        fs::create_dir(&dir).with_context(|| format!("cannot make the state folder {}", dir.display()))?;
        fs::write(dir.join("id"), id).context("cannot write the cluster's id")?;
        Ok(dir)
    }

    /// Writes the state of a cluster that runs.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the state")?;
        fs::write(dir.join("state.json"), text).context("cannot write the state")
    }

    /// Reads the state of a cluster that runs.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let text = fs::read_to_string(dir.join("state.json"))
            .with_context(|| format!("no cluster in {}: start one with `tidepool-cluster up`", dir.display()))?;
        serde_json::from_str(&text).context("cannot read the state")
    }

    /// Notes the init of a cluster that starts.
    pub(crate) fn write_init(dir: &Path, init: Process) -> Result<()> {
        fs::write(dir.join("init"), serde_json::to_string(&init)?).context("cannot note the cluster's init")
    }

    /// The init of a cluster.
    pub(crate) fn init(dir: &Path) -> Result<Process> {
        let text = fs::read_to_string(dir.join("init")).context("the cluster has no init yet")?;
        serde_json::from_str(&text).context("cannot read the cluster's init")
    }

    /// Name of the control group that holds the cluster's pods.
    pub(crate) fn control_group(dir: &Path) -> Result<String> {
        let id = fs::read_to_string(dir.join("id")).with_context(|| format!("{} has no id", dir.display()))?;
        ensure!(!id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()), "the id `{id}` is not one of ours");
        Ok(format!("{PREFIX}{id}"))
    }
}

/// Takes away what clusters left behind whose owner and guard were both killed, or whose machine was restarted.
pub(crate) fn sweep() {
    let folders = fs::read_dir(FOLDERS).into_iter().flatten().flatten();
    for dir in folders.map(|entry| entry.path()).filter(|dir| is_left_behind(dir)) {
        if let Err(error) = guard::tear_down(&dir) {
            eprintln!("cannot sweep {}: {error:#}", dir.display());
        }
    }
}

fn is_left_behind(dir: &Path) -> bool {
    let ours = dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
    // Anybody may make a folder in /tmp, but only root can have made one of ours.
    let Ok(id) = fs::symlink_metadata(dir.join("id")) else { return false };
    if !ours || id.uid() != 0 || State::control_group(dir).is_err() {
        return false;
    }
    match State::init(dir) {
        Ok(init) => !init.is_alive(),
        Err(_) => {
            let made = id.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            made.elapsed().is_ok_and(|age| age > STARTING)
        }
    }
}

fn random_id() -> Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("no random id")?;
    Ok(uuid.chars().take(6).collect())
}
