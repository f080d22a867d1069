//! The agent's decisions, in one task: from what is known to routes, files and the report. By level: each step looks at
//! everything and may be repeated.

mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tidepool_oci::RegistryName;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    forward::{Members, Routings},
    honored::{Honored, Proof},
    last::Last,
    node::NodeFacts,
    node_files::{NodeFiles, Stuck},
    registries_conf::PullFromMirror,
    report::Report,
    states::Reach,
    watch::Document,
};

/// How often all is looked at again without a reason: somebody may have changed a file.
const RESYNC: Duration = Duration::from_secs(30);

/// Whether the listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// It is about to.
    Starting,
    /// An agent of a release that does not share the port is there still, and answers in its place.
    Behind,
    /// It does, and answers.
    Yes,
    /// It does not: why, and what to do.
    No(String),
}

/// What the controller is told.
#[derive(Debug)]
pub struct Inputs {
    /// The document.
    pub document: watch::Receiver<Document>,
    /// Where members are.
    pub members: watch::Receiver<Members>,
    /// The node, once known.
    pub node: watch::Receiver<Option<NodeFacts>>,
    /// The listener.
    pub listening: watch::Receiver<Listening>,
    /// Members' health, by uid of mirror.
    pub reach: watch::Receiver<BTreeMap<String, Reach>>,
    /// Whether a pull was seen.
    pub honored: Honored,
}

/// What the controller acts on.
#[derive(Debug)]
pub struct Outputs {
    /// Routes of the forwarder.
    pub routings: Arc<Routings>,
    /// Files of the runtime.
    pub files: NodeFiles,
    /// The report.
    pub report: watch::Sender<Option<Report>>,
    /// Whether pulls can be served: each mirror of this node has a member that answers.
    pub able: watch::Sender<bool>,
    /// The state directory, for what was last known.
    pub state: PathBuf,
}

/// Where things are on the node.
#[derive(Clone, Debug)]
pub struct Places {
    /// Port of the listener.
    pub port: u16,
    /// The directory of the runtime's configuration, as mounted.
    pub runtime_config_dir: PathBuf,
    /// The same, as the node's owner knows it.
    pub runtime_config_host_dir: PathBuf,
    /// The registry directory, as the runtime's configuration should name it.
    pub registry_dir_name: String,
    /// registries.conf, where the runtime has one, as mounted.
    pub registries_conf: PathBuf,
    /// Which pulls of a CRI-O node come to the mirror.
    pub pull_from_mirror: PullFromMirror,
}

/// The agent's decisions.
#[derive(Debug)]
pub struct Controller {
    inputs: Inputs,
    outputs: Outputs,
    places: Places,
    last: Last,
    /// Mirrors, by uid, of which a member answered this node since the agent started.
    proven: BTreeSet<String>,
    /// Registries whose file was found edited since the agent started.
    edited: BTreeSet<RegistryName>,
    proof: Option<Proof>,
}

impl Controller {
    /// A controller that goes on from what its predecessor knew.
    #[must_use]
    pub fn new(inputs: Inputs, outputs: Outputs, places: Places, last: Last) -> Self {
        let proof = last.proof.clone();
        Self { inputs, outputs, places, last, proven: BTreeSet::new(), edited: BTreeSet::new(), proof }
    }

    /// Decides until `stop`, and hands the files back.
    ///
    /// # Errors
    /// [`Stuck`] when the node's file system hangs.
    pub async fn run(mut self, stop: CancellationToken) -> Result<NodeFiles, Stuck> {
        let mut resync = tokio::time::interval(RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.wait(&mut resync, &stop).await {
            self.step().await?;
        }
        Ok(self.outputs.files)
    }

    /// Waits for a reason to look; false when it is time to stop.
    async fn wait(&mut self, resync: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
        let Inputs { document, members, node, listening, reach, honored } = &mut self.inputs;
        // A sender that is gone belongs to a task that ended, which ends the agent: `stop` follows.
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            _ = resync.tick() => {}
            Ok(()) = document.changed() => {}
            Ok(()) = members.changed() => {}
            Ok(()) = node.changed() => {}
            Ok(()) = listening.changed() => {}
            Ok(()) = reach.changed() => {}
            () = honored.noted() => {}
            // What the agent before kept since this one read it is not known.
            () = self.outputs.files.taken_over() => self.last = Last::default(),
        }
        true
    }
}

#[cfg(test)]
mod tests;
