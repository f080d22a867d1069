//! The files of this node, for the task that decides about them: opened when they can be, worked on off its thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use tidepool_oci::RegistryName;

use crate::{
    files::{FileError, Files, Outcome},
    hosts_toml::Settings,
    metrics::{FileChange, Metrics},
    states::FileProblem,
};

/// How long the file system may take. Local files take microseconds; beyond this the node is sick.
const WITHIN: Duration = Duration::from_secs(60);

/// What the files should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Registries that have a file.
    pub place: BTreeSet<RegistryName>,
    /// Registries that keep the file they may have.
    pub keep: BTreeSet<RegistryName>,
    /// What our table says.
    pub settings: Settings,
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
    metrics: Metrics,
}

impl NodeFiles {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(root: &Path, name: String, state: &Path, metrics: Metrics) -> Self {
        Self { root: root.to_owned(), name, state: state.to_owned(), files: None, metrics }
    }

    /// Makes the files what they should be.
    ///
    /// # Errors
    /// [`Stuck`] when the file system hangs; what merely fails is in the result.
    pub async fn reconcile(&mut self, wish: Wish) -> Result<Placed, Stuck> {
        let place = wish.place.clone();
        let done = self.work(move |files| {
            let outcome = files.reconcile(&wish.place, &wish.keep, &wish.settings);
            let present = files.present(&wish.keep);
            (outcome, present)
        });
        match done.await? {
            Ok((outcome, present)) => {
                self.note(&outcome);
                Ok(placed(outcome, present))
            }
            Err(error) => {
                let problem = FileProblem::from(&error);
                let files = place.into_iter().map(|registry| (registry, Err(problem.clone()))).collect();
                Ok(Placed { files, ..Placed::default() })
            }
        }
    }

    /// Takes all files back; what could not be taken back is logged.
    ///
    /// # Errors
    /// [`Stuck`] when the file system hangs.
    pub async fn withdraw_all(&mut self) -> Result<(), Stuck> {
        match self.work(Files::withdraw_all).await? {
            Ok(outcome) => self.note(&outcome),
            Err(error) => tracing::warn!(message = error.message(), "files could not be taken back"),
        }
        Ok(())
    }

    /// Works on the files on a thread that may block.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Result<Result<T, FileError>, Stuck> {
        let (root, name, state) = (self.root.clone(), self.name.clone(), self.state.clone());
        let files = self.files.take();
        let task = tokio::task::spawn_blocking(move || {
            let mut files = files.map_or_else(|| Files::open(&root, &state)?.named(&name), Ok)?;
            let done = work(&mut files);
            Ok((files, done))
        });
        match tokio::time::timeout(WITHIN, task).await {
            Ok(Ok(Ok((files, done)))) => {
                self.files = Some(files);
                Ok(Ok(done))
            }
            Ok(Ok(Err(error))) => Ok(Err(error)),
            Ok(Err(_)) | Err(_) => Err(Stuck),
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
            tracing::warn!(%registry, "hosts.toml was edited by somebody; the edit is kept, with our host before it");
        }
        for error in &outcome.stuck {
            tracing::warn!(message = error.message(), "a file could not be taken back");
        }
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
