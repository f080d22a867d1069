//! The files of this node, for the task that decides about them: opened when they can be, worked on off its thread.

mod queue;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use tidepool_oci::RegistryName;

use crate::{
    files::{FileError, Files, Outcome, present},
    hosts_toml::Settings,
    metrics::{FileChange, Metrics},
    registries_conf,
    states::FileProblem,
};
use queue::Queue;

/// How long the file system may take. Local files take microseconds; beyond this the node is sick.
const WITHIN: Duration = Duration::from_secs(60);

/// How long another agent on this node, which may be stopping too, may hold the files: its last look at the API server
/// and its own withdrawal.
const OTHER_AGENT: Duration = Duration::from_secs(6);

/// What the files should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Registries that have a file.
    pub place: BTreeSet<RegistryName>,
    /// Registries that keep the file they may have.
    pub keep: BTreeSet<RegistryName>,
    /// What they say.
    pub format: Format,
}

/// What the node's runtime reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A hosts.toml for each registry, with this table (containerd).
    HostsToml(Settings),
    /// One file in registries.conf.d with these tables (CRI-O).
    RegistriesConf {
        /// What they say.
        settings: registries_conf::Settings,
        /// The file that is read before those in the directory.
        main: PathBuf,
    },
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// By registry: its file is there, or why not. A registry without a file and without a problem is missing.
    pub files: BTreeMap<RegistryName, Result<(), FileProblem>>,
    /// Registries whose file was edited by somebody.
    pub edited: BTreeSet<RegistryName>,
}

/// The file system did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the node's file system did not answer within a minute")]
pub struct Stuck;

/// The registry directory and the state directory of this node.
#[derive(Debug)]
pub struct NodeFiles {
    root: PathBuf,
    /// What the node calls it.
    name: String,
    state: PathBuf,
    files: Option<Files>,
    /// While another agent writes on this node: the one before, until it has ended.
    queue: Queue,
    metrics: Metrics,
}

impl NodeFiles {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(root: &Path, name: String, state: &Path, metrics: Metrics) -> Self {
        let (root, state) = (root.to_owned(), state.to_owned());
        Self { root, name, state, files: None, queue: Queue::default(), metrics }
    }

    /// Makes the files what they should be.
    ///
    /// # Errors
    /// [`Stuck`] when the file system hangs; what merely fails is in the result.
    pub async fn reconcile(&mut self, wish: Wish) -> Result<Placed, Stuck> {
        let (root, all) = (self.root.clone(), wish.place.union(&wish.keep).cloned().collect());
        let place = wish.place.clone();
        let done = self.work(move |files, root| {
            let outcome = match &wish.format {
                // Of either kind: the runtime, or the directory, may have been another.
                _ if wish.place.is_empty() && wish.keep.is_empty() => files.withdraw_all(),
                Format::HostsToml(settings) => files.reconcile(&wish.place, &wish.keep, settings),
                Format::RegistriesConf { settings, main } => {
                    files.reconcile_drop_in(&wish.place, &wish.keep, settings, main)
                }
            };
            (outcome, present(root, &wish.keep))
        });
        match done.await? {
            Ok((outcome, present)) => {
                self.note(&outcome);
                Ok(placed(outcome, present))
            }
            // The agent before is ending; what it wrote is what this one will find.
            Err(FileError::Locked { .. }) if self.queue.is_short() => {
                let found = blocking(move || present(&root, &all)).await?;
                Ok(placed(Outcome::default(), found))
            }
            Err(error) => {
                let problem = FileProblem::from(&error);
                let files = place.into_iter().map(|registry| (registry, Err(problem.clone()))).collect();
                Ok(Placed { files, ..Placed::default() })
            }
        }
    }

    /// Whether another agent writes on this node, as far as was seen, and may just be ending.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.queue.is_short()
    }

    /// Whether another agent writes on this node, as far as was seen, ending or not.
    #[must_use]
    pub fn is_anothers(&self) -> bool {
        self.queue.is_entered()
    }

    /// Waits until this agent may write, if another does; else for ever.
    pub async fn taken_over(&mut self) {
        self.queue.served().await;
        tracing::info!("the agent before has ended; this one writes the node's files now");
    }

    /// Takes all files back; what could not be taken back is logged. While agents overlap, the other one may have the
    /// files yet, and may have decided that they stay: whoever has them last takes them back.
    ///
    /// # Errors
    /// [`Stuck`] when the file system hangs.
    pub async fn withdraw_all(&mut self) -> Result<(), Stuck> {
        let mut done = self.work(|files, _| files.withdraw_all()).await?;
        if matches!(done, Err(FileError::Locked { .. })) {
            // In vain or not: the next try tells.
            let _ = tokio::time::timeout(OTHER_AGENT, self.queue.served()).await;
            done = self.work(|files, _| files.withdraw_all()).await?;
        }
        match done {
            Ok(outcome) => self.note(&outcome),
            Err(error) => tracing::warn!(message = error.message(), "files could not be taken back"),
        }
        Ok(())
    }

    /// Works on the files on a thread that may block.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files, &Path) -> T + Send + 'static,
    ) -> Result<Result<T, FileError>, Stuck> {
        let (root, name, state) = (self.root.clone(), self.name.clone(), self.state.clone());
        let (files, lock) = (self.files.take(), self.queue.take());
        let done = blocking(move || {
            let mut files = match (files.filter(Files::hold), lock) {
                (Some(files), _) => files,
                (None, Some(lock)) => Files::with(lock?, &root, &state)?.named(&name)?,
                (None, None) => Files::open(&root, &state)?.named(&name)?,
            };
            let done = work(&mut files, &root);
            Ok((files, done))
        });
        match done.await? {
            Ok((files, done)) => {
                self.files = Some(files);
                self.queue.leave();
                Ok(Ok(done))
            }
            Err(error) => {
                match error {
                    FileError::Locked { .. } => self.queue.enter(&self.state),
                    // The other one is gone, and what is wrong now is this agent's to say.
                    _ => self.queue.leave(),
                }
                Ok(Err(error))
            }
        }
    }

    fn note(&self, outcome: &Outcome) {
        self.metrics.count_files(FileChange::Written, outcome.written);
        self.metrics.count_files(FileChange::Withdrawn, outcome.withdrawn);
        self.metrics.count_files(FileChange::Edited, outcome.edited.len());
        if outcome.written + outcome.withdrawn > 0 {
            tracing::info!(files.written = outcome.written, files.withdrawn = outcome.withdrawn, "files changed");
        }
        for registry in &outcome.edited {
            tracing::warn!(%registry, "the file was edited by somebody; the edit is kept");
        }
        for error in &outcome.stuck {
            tracing::warn!(message = error.message(), "a file could not be taken back");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stuck> {
    match tokio::time::timeout(WITHIN, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(Stuck),
    }
}

fn placed(outcome: Outcome, present: BTreeSet<RegistryName>) -> Placed {
    let placed = outcome.placed.into_iter().map(|(registry, placed)| (registry, placed.map_err(|e| (&e).into())));
    let kept = present.into_iter().map(|registry| (registry, Ok(())));
    Placed { files: kept.chain(placed).collect(), edited: outcome.edited }
}

impl From<&FileError> for FileProblem {
    fn from(error: &FileError) -> Self {
        Self { unsupported: error.is_unsupported(), reason: error.reason(), message: error.message() }
    }
}

#[cfg(test)]
mod tests;
