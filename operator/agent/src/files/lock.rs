//! The lock by which one agent at a time writes on a node. The kernel takes it from a process that ends, however it does.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::FileError;

/// `<state>/lock`, held.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// [`FileError::Locked`] while another agent has it, [`FileError::Io`] when `state` cannot be written.
    pub fn take(state: &Path) -> Result<Self, FileError> {
        let (file, path) = open(state)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path }),
            Err(TryLockError::WouldBlock) => Err(FileError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(FileError::io("lock", &path)(source)),
        }
    }

    /// Takes it as soon as nobody has it; blocks the thread until then.
    ///
    /// # Errors
    /// [`FileError::Io`] when `state` cannot be written.
    pub fn wait(state: &Path) -> Result<Self, FileError> {
        let (file, path) = open(state)?;
        file.lock().map_err(FileError::io("lock", &path))?;
        Ok(Self { file, path })
    }

    /// Whether another agent would find it taken: not when somebody removed the file, and the state directory with it.
    pub(super) fn holds(&self) -> bool {
        let same = |at: &fs::Metadata, held: &fs::Metadata| (at.dev(), at.ino()) == (held.dev(), held.ino());
        matches!((fs::metadata(&self.path), self.file.metadata()), (Ok(at), Ok(held)) if same(&at, &held))
    }
}

fn open(state: &Path) -> Result<(File, PathBuf), FileError> {
    fs::create_dir_all(state).map_err(FileError::io("create", state))?;
    let path = state.join("lock");
    let file = File::create(&path).map_err(FileError::io("create", &path))?;
    Ok((file, path))
}
