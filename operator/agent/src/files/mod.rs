//! The one module that writes on the node: hosts.toml files in the runtime's registry directory (design N2), or the one
//! file that CRI-O reads (`drop_in`).
//!
//! Every change is aside, fsync, rename, fsync of the directory. A new directory is built aside and renamed whole,
//! since an empty one would hide `_default`. Somebody's hosts.toml is kept byte for byte in the state directory
//! before ours replaces it, and comes back when ours goes.

mod base;
mod created;
mod disk;
mod drop_in;
mod error;
mod home;
mod lock;
mod originals;
mod place;
mod withdraw;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tidepool_oci::RegistryName;

use crate::hosts_toml::{Ownership, Settings, ownership};
use created::Created;
use disk::Disk;
pub use error::FileError;
use home::Home;
pub use lock::Lock;
use originals::Originals;

const FILE: &str = "hosts.toml";
/// Name under which a new hosts.toml is written in its directory; not `*.crt`, `*.cert`, `*.key`, which mean something.
const ASIDE: &str = ".tidepool-hosts.toml";
/// Directories on their way in and out; no host begins with a dot.
const NEW: &str = ".tidepool-new-";
const GONE: &str = ".tidepool-gone-";

/// The registry directory of this node's runtime, as long as this agent is the one that writes there.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    originals: Originals,
    created: Created,
    home: Home,
    disk: Disk,
    lock: Lock,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every registry that was to have a file, and why it has none.
    pub placed: BTreeMap<RegistryName, Result<(), FileError>>,
    /// Registries whose file somebody had edited; the edit was kept, with our host before it.
    pub edited: BTreeSet<RegistryName>,
    /// Files that should have gone and did not.
    pub stuck: Vec<FileError>,
    /// How many files were written, and how many withdrawn.
    pub written: usize,
    /// See `written`.
    pub withdrawn: usize,
}

impl Files {
    /// Takes the registry directory `root`, with `state` for what must outlive the agent, and clears what a crash left.
    ///
    /// # Errors
    /// [`FileError::Locked`] while another agent lives, [`FileError::Io`] when `state` cannot be written.
    pub fn open(root: &Path, state: &Path) -> Result<Self, FileError> {
        Self::with(Lock::take(state)?, root, state)
    }

    /// As [`Files::open`], with the lock in hand.
    ///
    /// # Errors
    /// [`FileError::Io`] when `root` cannot be read.
    pub fn with(lock: Lock, root: &Path, state: &Path) -> Result<Self, FileError> {
        let (originals, created, home) = (Originals::new(state), Created::new(state), Home::new(state));
        let files = Self { root: root.to_owned(), originals, created, home, disk: Disk::default(), lock };
        files.clear_remains()?;
        Ok(files)
    }

    /// Whether this agent is still the only one that writes.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.lock.holds()
    }

    /// Makes the files what they should be: one for each registry in `place`, those in `keep` as they are, no other of
    /// ours, and none that would hide certificates. Writes nothing where nothing changed.
    pub fn reconcile(
        &mut self,
        place: &BTreeSet<RegistryName>,
        keep: &BTreeSet<RegistryName>,
        settings: &Settings,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for registry in place {
            // First of all: files that nobody knows to be here would be forgotten when the directory changes.
            let placed = self.home.note(&self.disk).and_then(|()| self.place(registry, settings));
            let placed = placed.map(|placed| {
                outcome.written += usize::from(placed.written);
                if placed.edited {
                    outcome.edited.insert(registry.clone());
                }
            });
            outcome.placed.insert(registry.clone(), placed);
        }
        let hides = |registry: &&RegistryName| {
            matches!(outcome.placed.get(*registry), Some(Err(FileError::Certificates { .. })))
        };
        let stay = place.iter().filter(|registry| !hides(registry)).chain(keep);
        let wanted: BTreeSet<String> = stay.map(|registry| directory_of(&self.root, registry)).collect();
        self.withdraw_others(&wanted, &mut outcome);
        outcome
    }

    /// Removes what a crash left half-way in or out. What cannot be removed is harmless, since no host begins with a dot.
    fn clear_remains(&self) -> Result<(), FileError> {
        for name in self.disk.list(&self.root)? {
            let directory = self.root.join(&name);
            let cleared = if name.starts_with(NEW) || name.starts_with(GONE) {
                let cleared = self.disk.remove_file(&directory.join(FILE));
                cleared.and_then(|()| self.disk.remove_directory(&directory))
            } else if name == drop_in::ASIDE {
                self.disk.remove_file(&directory)
            } else if directory.join(ASIDE).exists() {
                self.disk.remove_file(&directory.join(ASIDE))
            } else {
                Ok(())
            };
            if let Err(error) = cleared {
                tracing::warn!(message = error.message(), "what a crash left behind stays");
            }
        }
        Ok(())
    }
}

/// The registries that have a file of some agent's now; to see them takes no lock.
#[must_use]
pub fn present(root: &Path, registries: &BTreeSet<RegistryName>) -> BTreeSet<RegistryName> {
    let disk = Disk::default();
    let has = |registry: &RegistryName| {
        let read = disk.read(&root.join(directory_of(root, registry)).join(FILE));
        let text = read.ok().flatten().and_then(|content| String::from_utf8(content.bytes).ok());
        text.is_some_and(|text| ownership(&text) != Ownership::Foreign)
    };
    let dropped_in = drop_in::present(&disk, root);
    registries.iter().filter(|registry| has(registry) || dropped_in.contains(*registry)).cloned().collect()
}

/// The directory of a registry: the spelling that exists, in containerd's order of search, else the one that works on
/// every version.
fn directory_of(root: &Path, registry: &RegistryName) -> String {
    let spelled = [registry.path_segment(), registry.to_string()];
    let existing = spelled.iter().find(|name| root.join(name).symlink_metadata().is_ok());
    existing.unwrap_or(&spelled[0]).clone()
}

#[cfg(test)]
mod tests;
