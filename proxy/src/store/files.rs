//! Files written aside and renamed into place.

use std::{
    fs::{self, DirEntry, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Names of scratch files; those of other processes, dead ones, begin otherwise.
#[derive(Clone, Debug)]
pub(super) struct ScratchNames {
    folder: PathBuf,
    process: Arc<str>,
    next: Arc<AtomicU64>,
}

impl ScratchNames {
    /// Whether a file in their folder is one of these.
    pub(super) fn are_of(&self, entry: &DirEntry) -> bool {
        entry.file_name().to_string_lossy().starts_with(&*self.process)
    }

    pub(super) fn new(folder: PathBuf) -> Self {
        // The time as well: after a reboot or in a container the process id is often the same.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Self { folder, process: format!("{}.{started:x}-", std::process::id()).into(), next: Arc::default() }
    }

    /// Creates a file under a new name.
    pub(super) fn create(&self) -> io::Result<Scratch> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}{number}", self.process));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Scratch { path: Some(path), file: Arc::new(file) })
    }
}

/// A file being written, removed when dropped unless it was published.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: Option<PathBuf>,
    file: Arc<File>,
}

impl Scratch {
    /// The file, open for reading and writing; it stays usable after publishing and after removal.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The file of that name, with what is in it; made where there is none.
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        Ok(Self { path: Some(path), file: Arc::new(file) })
    }

    /// Begins with another file of the same name: who has the one before open reads on in that.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        fs::remove_file(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        self.file = Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?);
        Ok(())
    }

    /// Leaves the file where it is when this is dropped.
    pub(super) fn keep(&mut self) {
        self.path = None;
    }

    /// Renames the file to its place, replacing what is there, and makes the folders on the way.
    pub(super) fn publish(mut self, place: &Path) -> io::Result<()> {
        self.publish_to(place)
    }

    /// As `publish`, of a scratch that is a part of something.
    pub(super) fn publish_to(&mut self, place: &Path) -> io::Result<()> {
        let Some(path) = self.path.take() else { return Ok(()) };
        let renamed = fs::rename(&path, place).or_else(|error| match place.parent() {
            Some(folder) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                fs::rename(&path, place)
            }
            _ => Err(error),
        });
        if renamed.is_err() {
            self.path = Some(path); // so that dropping removes it
        }
        renamed
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may be gone already; otherwise the next start removes it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Waits until the disk has a file, or a folder's entries. Some network file systems cannot tell.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::note_sync(path);
    match File::open(path)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// What is in a folder; nothing where there is none, and where it cannot be read.
pub(super) fn entries(folder: &Path) -> Vec<DirEntry> {
    match fs::read_dir(folder).and_then(Iterator::collect) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "cannot read a folder of the store");
            Vec::new()
        }
    }
}

/// Removes a file; says whether it is gone.
pub(super) fn remove(file: &Path) -> bool {
    match fs::remove_file(file) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot remove a file of the store");
            false
        }
    }
}

#[cfg(test)]
pub(super) use tests::synced;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashMap,
        io::Write as _,
        sync::{LazyLock, Mutex},
    };

    static SYNCED: LazyLock<Mutex<HashMap<PathBuf, u64>>> = LazyLock::new(Mutex::default);

    pub(super) fn note_sync(path: &Path) {
        *SYNCED.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    }

    /// How often a file or folder was synced.
    pub(in crate::store) fn synced(path: &Path) -> u64 {
        SYNCED.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    #[test]
    fn publishing_makes_folders_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (names, place) = (ScratchNames::new(dir.path().into()), dir.path().join("a/b/c"));
        for text in ["one", "two"] {
            let scratch = names.create().unwrap();
            scratch.file().as_ref().write_all(text.as_bytes()).unwrap();
            scratch.publish(&place).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
