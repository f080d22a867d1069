//! The identity in the agent's run directory, which is memory: a container that starts again without the API server
//! goes on. It never is on a disk.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::Identity;
use crate::aside;

const FILE: &str = "identity.json";

/// The identity cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the identity in {}", path.display())]
pub struct KeepError {
    path: PathBuf,
    source: io::Error,
}

/// Reads what was kept in the run directory; nothing, where nothing is or it cannot be used.
#[must_use]
pub fn load(run: &Path) -> Option<Identity> {
    let path = run.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the kept identity");
            return None;
        }
    };
    // Not with the error's text, which may quote.
    let entries = serde_json::from_slice::<BTreeMap<String, String>>(&text).ok();
    let identity = entries.and_then(|entries| Identity::new(entries).ok());
    if identity.is_none() {
        tracing::warn!(path = %path.display(), "the kept identity is damaged");
    }
    identity
}

/// Keeps an identity in the run directory, for its owner's eyes: aside, then renamed.
///
/// # Errors
/// [`KeepError`] when the directory cannot be written.
pub fn keep(identity: &Identity, run: &Path) -> Result<(), KeepError> {
    let write = || aside::replace(run, FILE, &serde_json::to_vec(&identity.entries)?);
    write().map_err(|source| KeepError { path: run.join(FILE), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, entries};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_was_kept_is_read_back_by_its_owner_alone_and_damage_is_nothing_known() {
        let run = tempfile::tempdir().unwrap();
        assert!(load(run.path()).is_none());
        let identity = Identity::new(entries(&[&Authority::new()], &["u"])).unwrap();
        fs::write(run.path().join(".identity.json"), "what a predecessor left half written").unwrap();
        keep(&identity, run.path()).unwrap();
        keep(&identity, run.path()).unwrap();
        assert_eq!(load(run.path()).unwrap(), identity);
        let path = run.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
        for damage in ["{", "{}", "[]"] {
            fs::write(&path, damage).unwrap();
            assert!(load(run.path()).is_none(), "{damage}");
        }
    }
}
