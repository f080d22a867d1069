//! Which directory of the node our files are in: a setting that changes must not forget those in another, nor the
//! originals that belong there.

use std::path::{Path, PathBuf};

use super::{
    FileError, Files,
    disk::{Attributes, Disk},
};

/// `<state>/registry-dir`: what the node calls the directory with files of ours; gone when none are there.
#[derive(Debug)]
pub(super) struct Home {
    note: PathBuf,
    state: PathBuf,
    /// What the node calls the directory of now; none where nobody told.
    name: Option<String>,
}

impl Home {
    pub(super) fn new(state: &Path) -> Self {
        Self { note: state.join("registry-dir"), state: state.to_owned(), name: None }
    }

    /// Notes that files of ours are about to be in the directory.
    pub(super) fn note(&self, disk: &Disk) -> Result<(), FileError> {
        let Some(name) = &self.name else { return Ok(()) };
        if disk.look(&self.note)?.is_some() {
            return Ok(());
        }
        let aside = self.note.with_extension("new");
        disk.write_aside(&aside, name.as_bytes(), Attributes::NEW)?;
        disk.rename(&aside, &self.note)?;
        disk.sync(&self.state)
    }

    /// Notes that none are there any more.
    pub(super) fn leave(&self, disk: &Disk) -> Result<(), FileError> {
        if disk.look(&self.note)?.is_none() {
            return Ok(());
        }
        disk.remove_file(&self.note)?;
        disk.sync(&self.state)
    }
}

impl Files {
    /// Takes the directory for the one that the node calls `name`.
    ///
    /// # Errors
    /// [`FileError::DirectoryChanged`] while files of ours are in another, which nobody would take back.
    pub fn named(mut self, name: &str) -> Result<Self, FileError> {
        if let Some(noted) = self.disk.read(&self.home.note)?
            && noted.bytes != name.as_bytes()
        {
            let was = PathBuf::from(String::from_utf8_lossy(&noted.bytes).into_owned());
            return Err(FileError::DirectoryChanged { was });
        }
        self.home.name = Some(name.to_owned());
        Ok(self)
    }
}
