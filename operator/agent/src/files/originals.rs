//! Somebody's hosts.toml, kept byte for byte outside the runtime's directory while a merged one takes its place.

use std::path::{Path, PathBuf};

use super::{
    FileError,
    disk::{Attributes, Content, Disk},
};

/// The kept files: `<state>/originals/<directory>.hosts.toml`, with owner, mode and time of modification.
#[derive(Debug)]
pub(super) struct Originals {
    folder: PathBuf,
}

impl Originals {
    pub(super) fn new(state: &Path) -> Self {
        Self { folder: state.join("originals") }
    }

    /// Keeps a file, durably, replacing what was kept for the same directory.
    pub(super) fn keep(&self, disk: &Disk, name: &str, bytes: &[u8], as_was: Attributes) -> Result<(), FileError> {
        disk.make_private_directory(&self.folder)?;
        let aside = self.folder.join(format!(".{name}"));
        disk.write_aside(&aside, bytes, as_was)?;
        disk.rename(&aside, &self.path(name))?;
        disk.sync(&self.folder)
    }

    /// What is kept for a directory.
    pub(super) fn kept(&self, disk: &Disk, name: &str) -> Result<Option<Content>, FileError> {
        disk.read(&self.path(name))
    }

    /// Lets go of what is kept for a directory, if anything is.
    pub(super) fn forget(&self, disk: &Disk, name: &str) -> Result<(), FileError> {
        if disk.look(&self.path(name))?.is_none() {
            return Ok(());
        }
        disk.remove_file(&self.path(name))?;
        disk.sync(&self.folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.hosts.toml"))
    }
}
