//! What the agent last knew, kept on the node: a node that boots while the API server is away still uses the cache.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tidepool_config::NodesDocument;

use crate::{aside, forward::Members, honored::Proof, node::NodeFacts};

/// The last known state, `last.json` in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Last {
    /// The document.
    pub document: Option<NodesDocument>,
    /// Where members were.
    pub members: Members,
    /// The node.
    pub node: Option<NodeFacts>,
    /// How the runtime was seen to use the mirror.
    pub proof: Option<Proof>,
}

/// The state cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the last known state in {}", path.display())]
pub struct SaveError {
    path: PathBuf,
    source: io::Error,
}

const FILE: &str = "last.json";

impl Last {
    /// Reads what was kept in `state`; nothing, where nothing is or it cannot be read.
    #[must_use]
    pub fn load(state: &Path) -> Self {
        let path = state.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the last known state");
                return Self::default();
            }
        };
        let last: Result<Self, _> = serde_json::from_slice(&text);
        let mut last = last.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the last known state is of another release or damaged");
            Self::default()
        });
        last.document = last.document.filter(|document| document.check_version().is_ok());
        last
    }

    /// Keeps it in `state`: aside, durable, renamed.
    ///
    /// # Errors
    /// [`SaveError`] when the directory cannot be written.
    pub fn save(&self, state: &Path) -> Result<(), SaveError> {
        let write = || {
            std::fs::create_dir_all(state)?;
            aside::replace(state, FILE, &serde_json::to_vec(self)?)
        };
        write().map_err(|source| SaveError { path: state.join(FILE), source })
    }

    /// Whether something is kept in `state`.
    #[must_use]
    pub fn is_kept(state: &Path) -> bool {
        state.join(FILE).exists()
    }

    /// Forgets what is kept in `state`: no agent follows on this node, or one of another installation some day.
    pub fn forget(state: &Path) {
        let path = state.join(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "the last known state stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{honored::Evidence, node::RuntimeVersion};

    #[test]
    fn what_was_kept_is_read_back_and_damage_is_nothing_known() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Last::load(state.path()), Last::default());
        let last = Last {
            document: Some(NodesDocument::new(Vec::new())),
            members: [("m".to_owned(), [("m-0".to_owned(), "10.0.0.1:5000".parse().unwrap())].into())].into(),
            node: Some(NodeFacts::default()),
            proof: Some(Proof {
                evidence: Evidence::Probe,
                runtime: RuntimeVersion::parse("containerd://2.4.2").unwrap(),
                configuration: "Configured".to_owned(),
            }),
        };
        last.save(state.path()).unwrap();
        assert_eq!(Last::load(state.path()), last);
        Last::forget(state.path());
        assert_eq!(Last::load(state.path()), Last::default());
        std::fs::write(state.path().join(FILE), "{\"document\":{\"version\":9}}").unwrap();
        assert_eq!(Last::load(state.path()), Last::default());
        std::fs::write(state.path().join(FILE), "{").unwrap();
        assert_eq!(Last::load(state.path()), Last::default());
    }
}
