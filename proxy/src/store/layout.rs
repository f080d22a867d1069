//! Where things lie in a store, and how its folder is taken into use.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidepool_oci::{Digest, RegistryName, RepositoryName};

use super::OpenError;

/// The layout this program reads and writes.
pub(super) const VERSION: &str = "1";
/// What a store's folder may hold: ours, and what file systems put into their roots.
const KNOWN: [&str; 7] = ["VERSION", "LOCK", "blobs", "manifests", "tags", "tmp", "lost+found"];
/// How long a predecessor may take to let go of the store: it may still be finishing transfers.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// What the file of checksums beside a blob ends in.
pub(super) const SUMS: &str = "sums";
/// What the name of a blob on its way begins with.
const FILL: &str = "fill-";
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Paths within one store.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: Arc<Path>,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        by_digest(&self.blobs(), digest)
    }

    /// The checksums of a blob's blocks, beside it.
    pub(super) fn sums(&self, digest: &Digest) -> PathBuf {
        Self::sums_of(&self.blob(digest))
    }

    pub(super) fn sums_of(blob: &Path) -> PathBuf {
        blob.with_extension(SUMS)
    }

    /// A blob on its way; the checksums of the blocks that are there lie beside it.
    pub(super) fn fill(&self, digest: &Digest) -> PathBuf {
        self.scratch().join(format!("{FILL}{}-{}", digest.algorithm().name(), digest.hex()))
    }

    pub(super) fn fill_sums(&self, digest: &Digest) -> PathBuf {
        self.fill(digest).with_extension(SUMS)
    }

    /// Of which blob on its way a file in `tmp` is a part.
    pub(super) fn filled(path: &Path) -> Option<Digest> {
        let name = path.file_name()?.to_str()?.strip_prefix(FILL)?;
        let name = name.strip_suffix(".sums").unwrap_or(name);
        name.replacen('-', ":", 1).parse().ok()
    }

    pub(super) fn manifest(&self, digest: &Digest) -> PathBuf {
        by_digest(&self.manifests(), digest)
    }

    /// `_tags` can be no repository's name, so tags and nested repositories never meet.
    pub(super) fn tag(&self, registry: &RegistryName, repository: &RepositoryName, tag: &str) -> PathBuf {
        self.tags(registry, repository).join(tag)
    }

    pub(super) fn tags(&self, registry: &RegistryName, repository: &RepositoryName) -> PathBuf {
        self.repository(registry, repository).join("_tags")
    }

    pub(super) fn all_tags(&self) -> PathBuf {
        self.root.join("tags")
    }

    /// As `_tags`, a name that no repository has.
    pub(super) fn public(&self, registry: &RegistryName, repository: &RepositoryName) -> PathBuf {
        self.repository(registry, repository).join("_public")
    }

    /// Of content that needed credentials: where it came from. No registry is called so.
    pub(super) fn origins(&self, digest: &Digest) -> PathBuf {
        by_digest(&self.all_origins(), digest)
    }

    /// The digest of the content that lies at `path`.
    pub(super) fn digest_of(path: &Path) -> Option<Digest> {
        let names: Vec<_> = path.iter().rev().take(3).map(|name| name.display()).collect();
        let [hex, _, algorithm] = &names[..] else { return None };
        format!("{algorithm}:{hex}").parse().ok()
    }

    pub(super) fn all_origins(&self) -> PathBuf {
        self.all_tags().join("_origins")
    }

    fn repository(&self, registry: &RegistryName, repository: &RepositoryName) -> PathBuf {
        self.all_tags().join(registry.path_segment()).join(repository.as_str())
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Takes the folder into use; the file returned holds its lock.
    pub(super) async fn open(&self) -> Result<File, OpenError> {
        self.prepare()?;
        let lock = self.lock().await?;
        self.check_version()?;
        Ok(lock)
    }

    fn prepare(&self) -> Result<(), OpenError> {
        let in_folder = |source| OpenError::Folder { path: self.root.to_path_buf(), source };
        fs::create_dir_all(&self.root).map_err(in_folder)?;
        for entry in fs::read_dir(&self.root).map_err(in_folder)? {
            let name = entry.map_err(in_folder)?.file_name();
            if !KNOWN.iter().any(|known| name == *known) {
                let entry = name.to_string_lossy().into_owned();
                return Err(OpenError::Foreign { path: self.root.to_path_buf(), entry });
            }
        }
        let folders = [self.blobs(), self.manifests(), self.all_tags(), self.scratch()];
        folders.iter().try_for_each(fs::create_dir_all).map_err(in_folder)
    }

    async fn lock(&self) -> Result<File, OpenError> {
        let in_folder = |source| OpenError::Folder { path: self.root.to_path_buf(), source };
        let file = File::create(self.root.join("LOCK")).map_err(in_folder)?;
        let until = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                Err(TryLockError::WouldBlock) => return Err(OpenError::Taken { path: self.root.to_path_buf() }),
                // Some network file systems have no locks; there the deployment sees to it that one process runs.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(in_folder(source)),
            }
        }
    }

    fn check_version(&self) -> Result<(), OpenError> {
        let path = self.root.join("VERSION");
        let in_folder = |source| OpenError::Folder { path: self.root.to_path_buf(), source };
        match fs::read(&path).map(|text| String::from_utf8_lossy(&text).into_owned()) {
            Ok(found) if found.trim() == VERSION => Ok(()),
            // Nothing, or zeros: a power loss tore the file before it was synced.
            Ok(found) if found.trim_matches(['\0', '\n', ' ']).is_empty() => self.write_version().map_err(in_folder),
            Ok(found) => Err(OpenError::Version {
                path: self.root.to_path_buf(),
                found: found.trim().chars().take(20).collect(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write_version().map_err(in_folder),
            Err(source) => Err(in_folder(source)),
        }
    }

    /// Once in a store's life, so that it can be synced: nothing else tells a store from what a newer program left.
    fn write_version(&self) -> io::Result<()> {
        let aside = self.scratch().join("VERSION");
        let mut file = File::create(&aside)?;
        file.write_all(format!("{VERSION}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, self.root.join("VERSION"))?;
        File::open(&self.root)?.sync_all()
    }
}

fn by_digest(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(digest.algorithm().name()).join(&digest.hex()[..2]).join(digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_of_other_things_and_a_newer_layout_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let refused = Layout::new(dir.path().into()).open().await.unwrap_err();
        assert!(matches!(&refused, OpenError::Foreign { entry, .. } if entry == "thesis.tex"), "{refused}");

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("VERSION"), "2\n").unwrap();
        let refused = Layout::new(dir.path().into()).open().await.unwrap_err();
        assert!(matches!(&refused, OpenError::Version { found, .. } if found == "2"), "{refused}");
    }

    #[tokio::test]
    async fn a_version_torn_by_a_power_loss_is_written_anew() {
        for torn in ["", "\n", "\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("VERSION"), torn).unwrap();
            Layout::new(dir.path().into()).open().await.unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("VERSION")).unwrap(), "1\n");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::new(dir.path().into()).open().await.unwrap();
        let second = Layout::new(dir.path().into()).open().await;
        assert!(matches!(second, Err(OpenError::Taken { .. })));
        drop(first);
        Layout::new(dir.path().into()).open().await.unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("VERSION")).unwrap(), "1\n");
    }
}
