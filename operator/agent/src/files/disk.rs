//! The steps by which files change, each one system call; a crash may fall between any two.

use std::{
    fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::Path,
    time::SystemTime,
};

use super::FileError;

/// The largest file that is read. Theirs have a few hundred bytes; what is larger is none, and the agent has little memory.
const LARGEST: u64 = 1 << 20;

/// The file system, one step at a time.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Steps until everything fails, as if the node had lost power.
    #[cfg(test)]
    pub(super) steps_left: std::cell::Cell<Option<usize>>,
    /// Directories in which something was renamed since they were synced.
    #[cfg(test)]
    pub(super) unsynced: std::cell::RefCell<std::collections::BTreeSet<std::path::PathBuf>>,
}

/// What a file is, besides its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// User and group; none: the agent's.
    pub(super) owner: Option<(u32, u32)>,
    /// None: now.
    pub(super) modified: Option<SystemTime>,
}

impl Attributes {
    /// World-readable, as runtimes' own files are: the file holds no secret of ours.
    pub(super) const NEW: Self = Self { mode: 0o644, owner: None, modified: None };

    fn of(metadata: &fs::Metadata) -> Self {
        let owner = Some((metadata.uid(), metadata.gid()));
        Self { mode: metadata.permissions().mode() & 0o7777, owner, modified: metadata.modified().ok() }
    }
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
    /// [`FileError::Link`] for a symbolic link, [`FileError::WrongKind`] for another thing, [`FileError::TooLarge`], and
    /// [`FileError::Io`] when it cannot be read.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Content>, FileError> {
        let Some(metadata) = self.look(path)? else { return Ok(None) };
        if metadata.is_symlink() {
            return Err(FileError::Link { path: path.to_owned() });
        }
        // Reading a pipe would wait for its writer, for ever.
        if !metadata.is_file() {
            return Err(FileError::WrongKind { path: path.to_owned(), wanted: "regular file" });
        }
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        if read.map_err(FileError::io("read", path))? as u64 > LARGEST {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        Ok(Some(Content { bytes, attributes: Attributes::of(&metadata) }))
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

    /// Writes a file under a name that nobody reads yet, durably. What fails leaves nothing: a full disk gets no fuller.
    pub(super) fn write_aside(&self, path: &Path, bytes: &[u8], attributes: Attributes) -> Result<(), FileError> {
        let written = self.write_new(path, bytes, attributes);
        if written.is_err() {
            // The first error says what is wrong; what stays here, the next write or agent removes.
            let _ = self.remove_file(path);
        }
        written
    }

    fn write_new(&self, path: &Path, bytes: &[u8], attributes: Attributes) -> Result<(), FileError> {
        let failed = |error| FileError::io("write", path)(error);
        // What a crash left may be readable for everybody, and be a link.
        self.remove_file(path)?;
        self.step("write", path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        for part in bytes.chunks(bytes.len().div_ceil(2).max(1)) {
            self.step("write", path)?;
            file.write_all(part).map_err(failed)?;
        }
        self.give_to(&file, path, attributes.owner)?;
        self.step("write", path)?;
        file.set_permissions(Permissions::from_mode(attributes.mode)).map_err(failed)?;
        if let Some(modified) = attributes.modified {
            self.step("write", path)?;
            file.set_times(FileTimes::new().set_modified(modified)).map_err(failed)?;
        }
        self.step("write", path)?;
        file.sync_all().map_err(failed)
    }

    /// Gives a file to its owner, where that is not the agent's user: which takes a capability that the agent has not.
    fn give_to(&self, file: &File, path: &Path, owner: Option<(u32, u32)>) -> Result<(), FileError> {
        let now = file.metadata().map_err(FileError::io("look at", path))?;
        let Some((user, group)) = owner.filter(|owner| *owner != (now.uid(), now.gid())) else { return Ok(()) };
        self.step("write", path)?;
        fchown(file, Some(user), Some(group)).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => FileError::Owner { path: path.to_owned(), user, group },
            _ => FileError::io("write", path)(source),
        })
    }

    /// Renames a file or directory, durably once the directory is synced.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.step("replace", to)?;
        #[cfg(test)]
        self.unsynced.borrow_mut().extend(to.parent().map(Path::to_owned));
        fs::rename(from, to).map_err(FileError::io("replace", to))
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync(&self, directory: &Path) -> Result<(), FileError> {
        self.step("sync", directory)?;
        #[cfg(test)]
        self.unsynced.borrow_mut().remove(directory);
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(FileError::io("sync", directory))
    }

    /// Makes one directory that everybody may read; one that exists is fine.
    pub(super) fn make_directory(&self, path: &Path) -> Result<(), FileError> {
        self.step("create", path)?;
        match DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(FileError::io("create", path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes a directory for the agent alone, with those around it.
    pub(super) fn make_private_directory(&self, path: &Path) -> Result<(), FileError> {
        self.step("create", path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::io("create", path))
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
