//! Blobs: looked up by digest, kept when whole, removed when damaged.

use std::{
    fs::{self, File, FileTimes, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use tidepool_oci::{Digest, Window};

use super::{
    Partial, Store, StoredBlob, Unchecked, blocking,
    blocks::{BLOCK, BlockSums},
    opened::{Opened, is_touch_due},
    rehash::measure,
    soundness::Soundness,
    verified::Stamp,
};

/// A blob that is here.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// It can be served, block by block as these are found sound.
    Ready(StoredBlob),
    /// It has no checksums, and can be served once it was hashed: see `Store::rehash`.
    Unchecked(Unchecked),
}

impl Kept {
    pub(super) fn ready(self) -> Option<StoredBlob> {
        match self {
            Self::Ready(blob) => Some(blob),
            Self::Unchecked(_) => None,
        }
    }
}

impl Store {
    /// The blob, if it is here. What has no checksums is hashed first; what is not its digest's content is removed.
    pub(crate) async fn blob(self: &Arc<Self>, digest: &Digest) -> Option<StoredBlob> {
        let unchecked = match self.kept(digest).await? {
            Kept::Ready(blob) => return Some(blob),
            Kept::Unchecked(unchecked) => unchecked,
        };
        let (store, wanted) = (Arc::clone(self), digest.clone());
        let check = || async move {
            let named = wanted.clone();
            let checked = blocking(move || store.rehash(&wanted, &unchecked, |_| {})).await;
            checked.unwrap_or_else(|error| {
                tracing::warn!(digest = %named, %error, "cannot check a stored blob");
                None
            })
        };
        self.verifying.join(digest.clone(), check).await.flatten()
    }

    /// The blob, once all of it was found sound; what is damaged is removed.
    pub(crate) async fn sound_blob(self: &Arc<Self>, digest: &Digest) -> Option<StoredBlob> {
        let blob = self.blob(digest).await?;
        let Some(whole) = Window::whole(blob.size).filter(|whole| !blob.is_sound(*whole)) else { return Some(blob) };
        let checking = blob.clone();
        if blocking(move || checking.check(whole)).await.unwrap_or(false) {
            return Some(blob);
        }
        self.evict_damaged(digest, &blob).await;
        None
    }

    /// The blob as it is here. One that is open already costs a look at its file.
    pub(crate) async fn kept(self: &Arc<Self>, digest: &Digest) -> Option<Kept> {
        if let Some((opened, due)) = self.opened.get(digest) {
            if due {
                self.note_pull(Arc::clone(&opened));
            }
            return Some(Kept::Ready(opened.into()));
        }
        let (store, wanted) = (Arc::clone(self), digest.clone());
        blocking(move || store.look_up(&wanted)).await.unwrap_or_else(|error| {
            tracing::warn!(%digest, %error, "cannot read a stored blob");
            None
        })
    }

    fn note_pull(&self, opened: Arc<Opened>) {
        self.tasks.spawn(async move {
            let touch = move || {
                opened.touch();
                Ok(())
            };
            let _ = blocking(touch).await;
        });
    }

    /// Opens a blob.
    pub(super) fn look_up(&self, digest: &Digest) -> io::Result<Option<Kept>> {
        let Some(file) = open(&self.layout.blob(digest))? else { return Ok(None) };
        let meta = file.metadata()?;
        let soundness = if self.opened.verified.knows(digest, &Stamp::of(&meta)) {
            Soundness::whole()
        } else if meta.len() <= BLOCK {
            // As quickly hashed as compared with a checksum, so it has none.
            if measure(digest, &file, meta.len(), |_| Ok(()))?.is_none() {
                self.remove_damaged(digest, &file);
                return Ok(None);
            }
            self.opened.verified.note(digest, &Stamp::of(&meta));
            Soundness::whole()
        } else if let Some(sums) = self.read_sums(digest)? {
            if sums.size() != meta.len() {
                self.remove_damaged(digest, &file);
                return Ok(None);
            }
            Soundness::unchecked(sums)
        } else {
            return Ok(Some(Kept::Unchecked(Unchecked { file: Arc::new(file), size: meta.len() })));
        };
        Ok(Some(Kept::Ready(self.opened.add(digest, file, &meta, soundness).into())))
    }

    fn read_sums(&self, digest: &Digest) -> io::Result<Option<BlockSums>> {
        match fs::read(self.layout.sums(digest)) {
            Ok(text) => Ok(BlockSums::decode(digest, &text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write_sums(&self, digest: &Digest, sums: &BlockSums) -> io::Result<()> {
        if sums.size() <= BLOCK {
            return Ok(());
        }
        let scratch = self.scratches.create()?;
        scratch.file().as_ref().write_all(&sums.encode(digest))?;
        scratch.publish(&self.layout.sums(digest))
    }

    /// Removes a blob that was found damaged, counts it and says so. Of the readers who find it so at the same time one
    /// does, and none of them removes what was filled since.
    pub(crate) async fn evict_damaged(self: &Arc<Self>, digest: &Digest, found: &StoredBlob) {
        let (store, digest, file) = (Arc::clone(self), digest.clone(), Arc::clone(&found.file));
        let remove = move || {
            store.remove_damaged(&digest, &file);
            Ok(())
        };
        let _ = blocking(remove).await;
    }

    pub(super) fn remove_damaged(&self, digest: &Digest, file: &File) {
        let path = self.layout.blob(digest);
        if self.origins.remove_damaged(&path, |there| is_same(there, file)) {
            self.opened.forget(digest);
            self.room.removed(file.metadata().map_or(0, |meta| meta.len()));
            self.damaged.inc();
            tracing::warn!(%digest, "a stored blob is damaged: removed, to be filled again");
        }
    }

    /// Keeps a blob whose digest the caller has checked; `origin` is noted of it.
    pub(crate) async fn commit_partial(
        self: &Arc<Self>,
        partial: Partial,
        digest: &Digest,
        origin: Option<String>,
    ) -> io::Result<()> {
        let (store, digest) = (Arc::clone(self), digest.clone());
        blocking(move || store.keep_blob(&partial, &digest, origin.as_deref())).await
    }

    fn keep_blob(&self, partial: &Partial, digest: &Digest, origin: Option<&str>) -> io::Result<()> {
        let size = partial.file().metadata()?.len();
        let sums = match partial.whole_sums(size) {
            Some(sums) => Some(sums),
            // Not all blocks were noted: hashed again rather than trusted.
            None => measure(digest, &partial.file(), size, |_| self.unless_stopping())?,
        };
        let sums = sums.ok_or(io::ErrorKind::InvalidData)?;
        // The checksums first: a blob without them would have to be hashed.
        self.origins.with(digest, origin, || {
            if let Err(error) = self.write_sums(digest, &sums) {
                // The last bytes of the disk went to the blob: it is hashed by the next process.
                tracing::debug!(%digest, %error, "cannot keep the checksums of a blob");
            }
            partial.publish(&self.layout.blob(digest))
        })?;
        // After the rename, which changes the stamp.
        self.opened.verified.note(digest, &Stamp::of_file(&partial.file())?);
        self.room.added(size);
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

/// Notes a pull in the file's modification time, unless one was noted lately.
pub(super) fn touch(file: &File, meta: &Metadata) {
    if is_touch_due(meta) {
        // Where it cannot be set the content is served all the same.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}

/// Whether the file at `path` is the one that is open.
fn is_same(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(open)) = (fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (open.dev(), open.ino())
}
