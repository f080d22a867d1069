//! Blobs: looked up by digest, hashed before this process first serves them.

use std::{
    collections::HashMap,
    fs::{self, File, FileTimes, Metadata},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tidepool_oci::{Digest, Window};

use super::{Scratch, Store, blocking};
use crate::{hash::Hasher, tasks::lock};

/// How exact the time of the last pull is kept: a write per blob and ten minutes at most.
const TOUCH_EVERY: Duration = Duration::from_secs(600);
/// Hashing reads in pieces of this size, far above the cost of a system call.
const HASH_PIECE: usize = 256 << 10;

/// A whole, verified blob.
#[derive(Clone, Debug)]
pub(crate) struct StoredBlob {
    /// Its bytes; stays readable when the blob is evicted.
    pub(crate) file: Arc<File>,
    /// How many.
    pub(crate) size: u64,
}

/// Which blobs were hashed, and what their files looked like then.
///
/// Two numbers a blob instead of texts: a million blobs served cost some 20 MB. A collision could only skip a check for
/// rot, not let in other content.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<HashMap<u64, u64>>);

impl Verified {
    fn knows(&self, digest: &Digest, stamp: u64) -> bool {
        lock(&self.0).get(&key(digest)) == Some(&stamp)
    }

    fn note(&self, digest: &Digest, stamp: u64) {
        lock(&self.0).insert(key(digest), stamp);
    }
}

fn key(digest: &Digest) -> u64 {
    u64::from_str_radix(&digest.hex()[..16], 16).unwrap_or_default()
}

/// What changes when a file is replaced or written to.
fn stamp(meta: &Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()).hash(&mut hasher);
    hasher.finish()
}

impl StoredBlob {
    /// Whether the blocks of these bytes were found sound by this process since the file last changed.
    pub(crate) fn is_sound(&self, _window: Window) -> bool {
        true
    }

    /// Checks the blocks of these bytes against their checksums: reads them. To be called where it may block.
    pub(crate) fn check(&self, _window: Window) -> io::Result<bool> {
        Ok(true)
    }
}

impl Store {
    /// Removes a blob that was found damaged, counts it and says so.
    pub(crate) async fn evict_damaged(self: &Arc<Self>, digest: &Digest) {
        let (store, digest) = (Arc::clone(self), digest.clone());
        let _ = blocking(move || {
            tracing::warn!(%digest, "a stored blob is damaged: removed, to be filled again");
            super::files::remove(&store.layout.blob(&digest));
            Ok(())
        })
        .await;
    }

    /// The blob, if it is here and whole. What is here and is not its digest's content is removed.
    pub(crate) async fn blob(self: &Arc<Self>, digest: &Digest) -> Option<StoredBlob> {
        match self.open_blob(digest).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot read a stored blob");
                None
            }
        }
    }

    async fn open_blob(self: &Arc<Self>, digest: &Digest) -> io::Result<Option<StoredBlob>> {
        let (store, wanted) = (Arc::clone(self), digest.clone());
        let found = blocking(move || store.look_up(&wanted)).await?;
        let Some((blob, verified)) = found else { return Ok(None) };
        if verified {
            return Ok(Some(blob));
        }
        let (store, wanted, file) = (Arc::clone(self), digest.clone(), Arc::clone(&blob.file));
        let check = || async move {
            let named = wanted.clone();
            let checked = blocking(move || store.verify(&wanted, &file)).await;
            checked
                .inspect_err(|error| tracing::warn!(digest = %named, %error, "cannot check a stored blob"))
                .unwrap_or(false)
        };
        let sound = self.verifying.join(digest.clone(), check).await;
        Ok(sound.unwrap_or(false).then_some(blob))
    }

    /// Opens a blob and says whether it is known to be whole.
    fn look_up(&self, digest: &Digest) -> io::Result<Option<(StoredBlob, bool)>> {
        let Some(file) = open(&self.layout.blob(digest))? else { return Ok(None) };
        let meta = file.metadata()?;
        let verified = self.verified.knows(digest, stamp(&meta));
        if verified && touch(&file, &meta) {
            self.verified.note(digest, stamp(&file.metadata()?));
        }
        Ok(Some((StoredBlob { file: Arc::new(file), size: meta.len() }, verified)))
    }

    /// Hashes a blob; removes it when it is not what its name says.
    fn verify(&self, digest: &Digest, file: &File) -> io::Result<bool> {
        let before = stamp(&file.metadata()?);
        if hash(digest, file)? {
            self.verified.note(digest, before);
            return Ok(true);
        }
        tracing::warn!(%digest, "a stored blob is damaged: removed, to be filled again");
        fs::remove_file(self.layout.blob(digest))?;
        Ok(false)
    }

    /// Keeps a blob whose digest the caller has checked; `origin` is noted of it.
    pub(crate) async fn commit_blob(
        self: &Arc<Self>,
        scratch: Scratch,
        digest: &Digest,
        origin: Option<String>,
    ) -> io::Result<()> {
        let (store, digest, mut scratch) = (Arc::clone(self), digest.clone(), scratch);
        blocking(move || store.keep_blob(&mut scratch, &digest, origin.as_deref())).await
    }

    pub(super) fn keep_blob(&self, scratch: &mut Scratch, digest: &Digest, origin: Option<&str>) -> io::Result<()> {
        let file = Arc::clone(scratch.file());
        self.origins.with(digest, origin, || scratch.publish_to(&self.layout.blob(digest)))?;
        let meta = file.metadata()?; // after the rename, which changes the ctime
        self.verified.note(digest, stamp(&meta));
        self.room.added(meta.len());
        Ok(())
    }
}

/// Opens a file; `None` when there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes a pull in the file's modification time, unless one was noted lately; says whether it did.
///
/// Where the time cannot be set (a disk remounted read-only, a file of another user) the content is served all the same.
pub(super) fn touch(file: &File, meta: &Metadata) -> bool {
    let now = SystemTime::now();
    let lately = |pulled: SystemTime| pulled.checked_add(TOUCH_EVERY).is_some_and(|until| now < until);
    if meta.modified().is_ok_and(lately) {
        return false;
    }
    let noted = file.set_times(FileTimes::new().set_modified(now));
    noted.inspect_err(|error| tracing::debug!(%error, "cannot note a pull of stored content")).is_ok()
}

fn hash(digest: &Digest, mut file: &File) -> io::Result<bool> {
    let (mut hasher, mut piece) = (Hasher::new(digest.algorithm()), vec![0; HASH_PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.matches(digest)),
            count => hasher.update(&piece[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;
    use prometheus_client::metrics::gauge::Gauge;
    use std::io::Write as _;

    fn abc() -> Digest {
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()
    }

    async fn store_with_abc(dir: &Path) -> Arc<Store> {
        let store = Store::open(dir.into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        let scratch = store.scratch().await.unwrap();
        scratch.file().as_ref().write_all(b"abc").unwrap();
        store.commit_blob(scratch, &abc(), None).await.unwrap();
        store
    }

    #[tokio::test]
    async fn what_was_kept_is_found_by_the_next_process_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_abc(dir.path()).await;
        assert_eq!(store.blob(&abc()).await.unwrap().size, 3);
        drop(store);
        let next = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        assert_eq!(next.blob(&abc()).await.unwrap().size, 3);
    }

    #[tokio::test]
    async fn a_truncated_or_changed_file_is_as_if_it_were_not_there() {
        for damage in [&b"ab"[..], b"abd", b""] {
            let dir = tempfile::tempdir().unwrap();
            let store = store_with_abc(dir.path()).await;
            let path = store.layout.blob(&abc());
            fs::write(&path, damage).unwrap();
            assert!(store.blob(&abc()).await.is_none());
            assert!(!path.exists(), "removed, so that it is filled again");
        }
    }

    #[tokio::test]
    async fn an_old_blob_is_touched_by_a_pull_and_stays_verified() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_abc(dir.path()).await;
        let path = store.layout.blob(&abc());
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        store.blob(&abc()).await.unwrap(); // hashed again, for its times changed
        store.blob(&abc()).await.unwrap(); // touched
        let meta = fs::metadata(&path).unwrap();
        assert!(meta.modified().unwrap().elapsed().unwrap() < Duration::from_secs(60));
        assert!(store.verified.knows(&abc(), stamp(&meta)));
    }
}
