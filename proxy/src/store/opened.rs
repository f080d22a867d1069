//! Blobs that are open: what is pulled often is found without a trip to where work may block.

use std::{
    fs::{File, FileTimes, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;
use tidepool_oci::{Digest, Window};

use super::{
    soundness::{Found, Soundness},
    verified::{Stamp, Verified},
};
use crate::tasks::lock;

/// How many blobs stay open for the next pull: one file descriptor each.
const MOST_OPEN: usize = 256;
/// How exact the time of the last pull is kept: a write per blob and ten minutes at most.
const TOUCH_EVERY: Duration = Duration::from_secs(600);

/// A whole blob. Its blocks are to be checked before their bytes go out, see `is_sound`.
#[derive(Clone, Debug)]
pub(crate) struct StoredBlob {
    /// Its bytes; stays readable when the blob is evicted.
    pub(crate) file: Arc<File>,
    /// How many.
    pub(crate) size: u64,
    opened: Arc<Opened>,
}

/// What all who read an open blob share.
#[derive(Debug)]
pub(super) struct Opened {
    digest: Digest,
    file: Arc<File>,
    size: u64,
    /// What the file looked like when it was opened, or touched by us.
    stamp: Mutex<Stamp>,
    soundness: Soundness,
    verified: Arc<Verified>,
    touching: AtomicBool,
}

/// The open blobs of a store.
#[derive(Debug)]
pub(super) struct OpenBlobs {
    cache: Cache<Digest, Arc<Opened>>,
    pub(super) verified: Arc<Verified>,
}

impl StoredBlob {
    /// Whether the blocks of these bytes were found sound by this process since the file last changed.
    pub(crate) fn is_sound(&self, window: Window) -> bool {
        self.opened.soundness.covers(window)
    }

    /// Checks the blocks of these bytes against their checksums: reads them. To be called where it may block.
    pub(crate) fn check(&self, window: Window) -> io::Result<bool> {
        self.opened.check(window)
    }
}

impl From<Arc<Opened>> for StoredBlob {
    fn from(opened: Arc<Opened>) -> Self {
        Self { file: Arc::clone(&opened.file), size: opened.size, opened }
    }
}

impl Opened {
    fn check(&self, window: Window) -> io::Result<bool> {
        let found = self.soundness.check(&self.file, window)?;
        if found == Found::Whole {
            // What was changed while it was checked is checked again when it is opened next.
            let stamp = *lock(&self.stamp);
            if Stamp::of_file(&self.file)? == stamp {
                self.verified.note(&self.digest, &stamp);
            }
        }
        Ok(found != Found::Damaged)
    }

    /// What the file looks like, if it is still what was opened, and in its place.
    fn current(&self) -> Option<Metadata> {
        let is = |meta: &Metadata, stamp: &Stamp| meta.nlink() > 0 && Stamp::of(meta) == *stamp;
        let meta = self.file.metadata().ok()?;
        if is(&meta, &lock(&self.stamp)) {
            return Some(meta);
        }
        // Perhaps it was touched between the two looks.
        let stamp = lock(&self.stamp);
        self.file.metadata().ok().filter(|meta| is(meta, &stamp))
    }

    /// Notes a pull in the file's modification time.
    ///
    /// Where the time cannot be set (a disk remounted read-only, a file of another user) the content is served all the same.
    /// A file that others changed is left as it is: it must not pass for what was checked.
    pub(super) fn touch(&self) {
        let mut stamp = lock(&self.stamp);
        match self.touch_if_same(&stamp) {
            Ok(None) => self.touching.store(false, Ordering::Release),
            Ok(Some(touched)) => {
                if self.soundness.is_whole() {
                    self.verified.note(&self.digest, &touched);
                }
                *stamp = touched;
                self.touching.store(false, Ordering::Release);
            }
            // And it is not tried again for as long as the blob is open.
            Err(error) => tracing::debug!(%error, "cannot note a pull of stored content"),
        }
    }
}

impl Opened {
    /// Whether it has a name.
    fn is_in_place(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() > 0)
    }

    /// What it looks like then; none where it was changed.
    fn touch_if_same(&self, stamp: &Stamp) -> io::Result<Option<Stamp>> {
        if Stamp::of_file(&self.file)? != *stamp {
            return Ok(None);
        }
        self.file.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        Stamp::of_file(&self.file).map(Some)
    }
}

impl OpenBlobs {
    pub(super) fn new() -> Self {
        Self { cache: Cache::new(MOST_OPEN), verified: Arc::default() }
    }

    /// The blob, if it is open and has not changed since: a look at its file and nothing else. The other says whether
    /// the pull is to be noted now: to be done by the caller, where it may block.
    pub(super) fn get(&self, digest: &Digest) -> Option<(Arc<Opened>, bool)> {
        let opened = self.cache.get(digest)?;
        let Some(meta) = opened.current() else {
            self.drop_one(&opened);
            return None;
        };
        let due = is_touch_due(&meta) && !opened.touching.swap(true, Ordering::AcqRel);
        Some((opened, due))
    }

    fn drop_one(&self, opened: &Arc<Opened>) {
        self.cache.remove_if(&opened.digest, |cached| Arc::ptr_eq(cached, opened));
    }

    /// Adds a blob that was just opened; the one that is there where another request was faster.
    pub(super) fn add(&self, digest: &Digest, file: File, meta: &Metadata, soundness: Soundness) -> Arc<Opened> {
        if let Some((there, _)) = self.get(digest) {
            return there;
        }
        let opened = Arc::new(Opened {
            digest: digest.clone(),
            file: Arc::new(file),
            size: meta.len(),
            stamp: Mutex::new(Stamp::of(meta)),
            soundness,
            verified: Arc::clone(&self.verified),
            touching: AtomicBool::new(false),
        });
        if is_touch_due(meta) {
            opened.touch();
        }
        self.cache.insert(digest.clone(), Arc::clone(&opened));
        if !opened.is_in_place() {
            self.drop_one(&opened); // removed meanwhile, and let go of before it was added
        }
        opened
    }

    /// Lets go of a blob that was removed: its bytes take room for as long as it is open.
    pub(super) fn forget(&self, digest: &Digest) {
        self.cache.remove(digest);
        self.verified.forget(digest);
    }

    /// Lets go of what other hands removed.
    pub(super) fn forget_removed(&self) {
        self.cache.retain(|_, opened| opened.is_in_place());
    }
}

/// Whether a pull is to be noted in the file's modification time: unless one was noted lately.
pub(super) fn is_touch_due(meta: &Metadata) -> bool {
    let lately = |pulled: SystemTime| pulled.checked_add(TOUCH_EVERY).is_some_and(|until| SystemTime::now() < until);
    !meta.modified().is_ok_and(lately)
}
