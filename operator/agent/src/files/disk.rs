//! The steps by which files change, each one atomic or on a name that nobody reads; a crash may fall between any two.

use std::{
    fs::{self, File, FileTimes, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::SystemTime,
};

use super::FileError;

/// The file system, one step at a time.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Steps until everything fails, as if the node had lost power.
    #[cfg(test)]
    pub(super) steps_left: std::cell::Cell<Option<usize>>,
}

/// What a file is, besides its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// None: now.
    pub(super) modified: Option<SystemTime>,
}

impl Attributes {
    /// World-readable, as runtimes' own files are: the file holds no secret of ours.
    pub(super) const NEW: Self = Self { mode: 0o644, modified: None };
}

/// A file's content and attributes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) attributes: Attributes,
}

impl Disk {
    /// Reads a regular file; none when it does not exist.
    ///
    /// # Errors
    /// [`FileError::Link`] for a symbolic link, [`FileError::NotRegular`] for another thing, [`FileError::Io`] when it cannot be read.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Content>, FileError> {
        let Some(metadata) = self.look(path)? else { return Ok(None) };
        if metadata.is_symlink() {
            return Err(FileError::Link { path: path.to_owned() });
        }
        // Reading a pipe would wait for its writer, for ever.
        if !metadata.is_file() {
            return Err(FileError::NotRegular { path: path.to_owned() });
        }
        let bytes = fs::read(path).map_err(FileError::io("read", path))?;
        let attributes =
            Attributes { mode: metadata.permissions().mode() & 0o7777, modified: metadata.modified().ok() };
        Ok(Some(Content { bytes, attributes }))
    }

    /// What is at a path, without following a link there; none when nothing is.
    pub(super) fn look(&self, path: &Path) -> Result<Option<fs::Metadata>, FileError> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::io("look at", path)(error)),
        }
    }

    /// The names in a directory, sorted; empty when it does not exist. Names that are no UTF-8 are not ours.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<String>, FileError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::io("list", path)(error)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        let names: io::Result<Vec<_>> = names.collect();
        let mut names: Vec<_> = names.map_err(FileError::io("list", path))?.into_iter().flatten().collect();
        names.sort();
        Ok(names)
    }

    /// Writes a file under a name that nobody reads yet, durably.
    pub(super) fn write_aside(&self, path: &Path, bytes: &[u8], attributes: Attributes) -> Result<(), FileError> {
        self.step("write", path)?;
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(attributes.mode))?;
            if let Some(modified) = attributes.modified {
                file.set_times(FileTimes::new().set_modified(modified))?;
            }
            file.sync_all()
        };
        write().map_err(FileError::io("write", path))
    }

    /// Renames a file or directory, durably once the directory is synced.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.step("replace", to)?;
        fs::rename(from, to).map_err(FileError::io("replace", to))
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync(&self, directory: &Path) -> Result<(), FileError> {
        self.step("sync", directory)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(FileError::io("sync", directory))
    }

    /// Makes one directory; one that exists is fine.
    pub(super) fn make_directory(&self, path: &Path) -> Result<(), FileError> {
        self.step("create", path)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(FileError::io("create", path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes a file; none there is fine.
    pub(super) fn remove_file(&self, path: &Path) -> Result<(), FileError> {
        self.step("remove", path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self, path: &Path) -> Result<(), FileError> {
        self.step("remove", path)?;
        fs::remove_dir(path).map_err(FileError::io("remove", path))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests fail here")]
    fn step(&self, _act: &'static str, _path: &Path) -> Result<(), FileError> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self, act: &'static str, path: &Path) -> Result<(), FileError> {
        match self.steps_left.get() {
            Some(0) => Err(FileError::io(act, path)(io::Error::other("power lost"))),
            Some(steps) => {
                self.steps_left.set(Some(steps - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
