//! Which directories are of our making: where somebody removes our file only, an empty one would go on hiding `_default`.

use std::path::{Path, PathBuf};

use super::{
    FileError, Files,
    disk::{Attributes, Disk},
};

/// `<state>/created/<directory>`, an empty file for each.
#[derive(Debug)]
pub(super) struct Created {
    folder: PathBuf,
}

impl Created {
    pub(super) fn new(state: &Path) -> Self {
        Self { folder: state.join("created") }
    }

    /// Notes that a directory is of our making. Without the note nothing is lost, so no file waits for it.
    pub(super) fn note(&self, disk: &Disk, name: &str) {
        let path = self.folder.join(name);
        if path.exists() {
            return;
        }
        let noted = disk.make_private_directory(&self.folder);
        let noted = noted.and_then(|()| disk.write_aside(&path, b"", Attributes::NEW));
        if let Err(error) = noted.and_then(|()| disk.sync(&self.folder)) {
            tracing::debug!(message = error.message(), "a directory is not noted as the agent's");
        }
    }

    /// Whether a directory is noted.
    pub(super) fn has(&self, disk: &Disk, name: &str) -> Result<bool, FileError> {
        disk.look(&self.folder.join(name)).map(|found| found.is_some())
    }

    /// All that are noted.
    pub(super) fn all(&self, disk: &Disk) -> Result<Vec<String>, FileError> {
        disk.list(&self.folder)
    }

    /// Lets go of a note, if there is one.
    pub(super) fn forget(&self, disk: &Disk, name: &str) -> Result<(), FileError> {
        if self.has(disk, name)? { disk.remove_file(&self.folder.join(name)) } else { Ok(()) }
    }
}

impl Files {
    /// Removes a directory of our making in which nothing is left.
    pub(super) fn remove_emptied(&self, name: &str) -> Result<(), FileError> {
        let directory = self.root.join(name);
        if self.created.has(&self.disk, name)? && self.disk.list(&directory)?.is_empty() {
            self.disk.remove_directory(&directory)?;
            self.disk.sync(&self.root)?;
        }
        Ok(())
    }

    /// Forgets what is kept for a directory that has no file of ours any more.
    pub(super) fn forget(&self, name: &str) -> Result<(), FileError> {
        self.originals.forget(&self.disk, name)?;
        self.created.forget(&self.disk, name)
    }
}
