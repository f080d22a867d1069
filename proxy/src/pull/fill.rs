//! A fill: one transfer of one blob, which any number of readers follow.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Mutex},
};

use tidepool_oci::{Digest, Window};
use tokio::{sync::watch, time::Instant};

use super::{PullError, Source, segments::SegmentMap};
use crate::tasks::lock;

/// One transfer of one blob, seen by its readers. The transfer itself is a task of its own: readers come and go.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(super) digest: Digest,
    /// Which repository it is asked from.
    pub(super) source: Source,
    progress: watch::Sender<Progress>,
    readers: Mutex<Readers>,
}

/// Those who follow a fill, and what each still wants.
#[derive(Debug, Default)]
struct Readers {
    next: u64,
    wants: HashMap<u64, Window>,
}

/// One reader of a fill. Dropping it is leaving.
#[derive(Debug)]
pub(super) struct Follower {
    fill: Arc<Fill>,
    number: u64,
    progress: watch::Receiver<Progress>,
}

impl Follower {
    /// Says what is still wanted: the bytes from `at` to `end`.
    pub(super) fn wants(&self, window: Window) {
        lock(&self.fill.readers).wants.insert(self.number, window);
    }

    /// Waits until `judge` says that the reader can go on; `None` when the fill is gone.
    pub(super) async fn wait<T>(&mut self, judge: impl Fn(&Progress) -> Option<T>) -> Option<T> {
        let now = self.progress.wait_for(|progress| judge(progress).is_some()).await.ok()?;
        judge(&now)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.fill.readers).wants.remove(&self.number);
    }
}

/// How far a fill is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// How many bytes the blob has, once known.
    pub(super) size: Option<u64>,
    /// Where they are written, once open.
    pub(super) file: Option<Arc<File>>,
    /// Those that are there.
    pub(super) present: SegmentMap,
    pub(super) state: State,
}

/// Whether a fill's bytes can be trusted.
#[derive(Clone, Debug, Default)]
pub(super) enum State {
    /// Not known yet.
    #[default]
    Running,
    /// Whole, and the digest's content.
    Verified,
    /// It came to nothing.
    Failed(PullError),
}

/// A fill that is open: readers can start.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) size: u64,
    pub(super) file: Arc<File>,
}

impl Fill {
    pub(super) fn new(digest: Digest, source: Source) -> Arc<Self> {
        let (progress, readers) = (watch::Sender::new(Progress::default()), Mutex::default());
        Arc::new(Self { digest, source, progress, readers })
    }

    /// Follows the fill, as one who wants these bytes.
    pub(super) fn follow(self: &Arc<Self>, window: Window) -> Follower {
        let mut readers = lock(&self.readers);
        let number = readers.next;
        readers.next += 1;
        readers.wants.insert(number, window);
        Follower { fill: Arc::clone(self), number, progress: self.progress.subscribe() }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }

    pub(super) fn present(&self, start: u64, end: u64) {
        self.update(|progress| progress.present.add(start, end));
    }

    /// The blob's size and file, as soon as both are known.
    pub(super) async fn opened(&self, until: Instant) -> Result<Opened, PullError> {
        let mut progress = self.progress.subscribe();
        let open = |progress: &Progress| match (&progress.state, progress.size, &progress.file) {
            (State::Failed(error), ..) => Some(Err(error.clone())),
            (_, Some(size), Some(file)) => Some(Ok(Opened { size, file: Arc::clone(file) })),
            _ => None,
        };
        let waited = tokio::time::timeout_at(until, progress.wait_for(|progress| open(progress).is_some())).await;
        let now = waited.map_err(|_| PullError::Late)?.map_err(|_| PullError::Stopped)?;
        open(&now).unwrap_or(Err(PullError::Stopped))
    }
}
