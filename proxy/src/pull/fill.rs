//! A fill: one transfer of one blob, which any number of readers follow.

use std::{
    collections::HashMap,
    fs::File,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tidepool_oci::{Digest, Window};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{PullError, Source, planner::Want, segments::SegmentMap};
use crate::tasks::lock;

/// A reader that waits for bytes further than this behind the first gap says so to the transfer.
const FAR: u64 = 8 << 20;

/// One transfer of one blob, seen by its readers. The transfer itself is a task of its own: readers come and go.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(super) digest: Digest,
    /// Which repository it is asked from.
    pub(super) source: Source,
    progress: watch::Sender<Progress>,
    readers: Mutex<Readers>,
    /// That a reader waits for bytes far ahead.
    far: Notify,
    /// Up to where all is there.
    frontier: AtomicU64,
    /// Whether its bytes were in the store already, so that the upstream was not asked for them.
    from_store: AtomicBool,
    /// What was noted of where it came from as it began: the note goes when the content does, while readers follow on.
    origins: OnceLock<String>,
    /// Connections that are open.
    pub(super) lines: AtomicUsize,
}

/// Those who follow a fill, and what each still wants.
#[derive(Debug, Default)]
struct Readers {
    next: u64,
    /// Grows with each window that is fetched for a reader.
    turn: u64,
    wants: HashMap<u64, Wanted>,
    /// Requests that found the fill and may read it yet.
    interested: usize,
    /// Nobody was there, and it ends: who comes now waits for that.
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    window: Window,
    /// When a window was last fetched for it.
    turn: u64,
}

/// One reader of a fill. Dropping it is leaving.
#[derive(Debug)]
pub(super) struct Follower {
    fill: Arc<Fill>,
    number: u64,
    progress: watch::Receiver<Progress>,
}

/// A request that found a fill and may read it: the fill does not end for want of readers meanwhile.
#[derive(Debug)]
pub(super) struct Interest(Arc<Fill>);

impl Follower {
    /// Says what is still wanted: the bytes from `at` to `end`.
    pub(super) fn wants(&self, window: Window) {
        if let Some(wanted) = lock(&self.fill.readers).wants.get_mut(&self.number) {
            wanted.window = window;
        }
        self.fill.call_if_far(window);
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

impl Drop for Interest {
    fn drop(&mut self) {
        lock(&self.0.readers).interested -= 1;
    }
}

/// How far a fill is.
#[derive(Debug, Default)]
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
    _interest: Arc<Interest>,
}

impl Fill {
    pub(super) fn new(digest: Digest, source: Source) -> Arc<Self> {
        Arc::new(Self {
            digest,
            source,
            progress: watch::Sender::new(Progress::default()),
            readers: Mutex::default(),
            far: Notify::new(),
            frontier: AtomicU64::new(0),
            from_store: AtomicBool::new(false),
            origins: OnceLock::new(),
            lines: AtomicUsize::new(0),
        })
    }

    /// Follows the fill, as one who wants these bytes.
    pub(super) fn follow(self: &Arc<Self>, window: Window) -> Follower {
        let mut readers = lock(&self.readers);
        let number = readers.next;
        readers.next += 1;
        readers.wants.insert(number, Wanted { window, turn: 0 });
        drop(readers);
        self.call_if_far(window);
        Follower { fill: Arc::clone(self), number, progress: self.progress.subscribe() }
    }

    /// Takes part in it; `None` when it ends for want of readers.
    pub(super) fn join(self: &Arc<Self>) -> Option<Interest> {
        let mut readers = lock(&self.readers);
        readers.interested += usize::from(!readers.closed);
        (!readers.closed).then(|| Interest(Arc::clone(self)))
    }

    /// Whether anybody reads it, or may yet.
    pub(super) fn is_read(&self) -> bool {
        let readers = lock(&self.readers);
        readers.interested > 0 || !readers.wants.is_empty()
    }

    /// Ends it if nobody reads it: nobody can join from then on.
    pub(super) fn close_unread(&self) -> bool {
        let mut readers = lock(&self.readers);
        readers.closed |= readers.interested == 0 && readers.wants.is_empty();
        readers.closed
    }

    /// How many readers follow it.
    pub(super) fn readers(&self) -> usize {
        lock(&self.readers).wants.len()
    }

    /// What its readers want, those first for whom least was fetched.
    pub(super) fn wants(&self) -> Vec<Want> {
        let readers = lock(&self.readers);
        let mut wants: Vec<_> =
            readers.wants.iter().map(|(reader, wanted)| (wanted.turn, *reader, wanted.window)).collect();
        wants.sort_unstable_by_key(|(turn, reader, _)| (*turn, *reader));
        wants.into_iter().map(|(_, reader, window)| Want { reader, window }).collect()
    }

    /// Notes that a window is fetched for a reader: the others are next.
    pub(super) fn served(&self, reader: u64) {
        let mut readers = lock(&self.readers);
        readers.turn += 1;
        let turn = readers.turn;
        if let Some(wanted) = readers.wants.get_mut(&reader) {
            wanted.turn = turn;
        }
    }

    /// Waits until a reader wants bytes far ahead.
    pub(super) async fn is_far(&self) {
        self.far.notified().await;
    }

    fn call_if_far(&self, window: Window) {
        if window.start > self.frontier.load(Ordering::Relaxed) + FAR {
            self.far.notify_one();
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(|progress| {
            change(progress);
            self.frontier.store(progress.present.end_from(0), Ordering::Relaxed);
        });
    }

    pub(super) fn present(&self, windows: &[Window]) {
        self.update(|progress| windows.iter().for_each(|window| progress.present.add(window.start, window.end)));
    }

    /// Says that its bytes were in the store, and where they came from was not asked for this fill.
    pub(super) fn found_in_store(&self) {
        self.from_store.store(true, Ordering::Release);
    }

    /// Says what is noted of where it came from.
    pub(super) fn note_origins(&self, origins: String) {
        let _ = self.origins.set(origins);
    }

    pub(super) fn origins(&self) -> Option<String> {
        self.origins.get().cloned()
    }

    /// Whether the upstream gave it to `source` just now, so that its readers may have it.
    pub(super) fn is_proven_for(&self, source: &Source) -> bool {
        self.source.is(source) && !self.from_store.load(Ordering::Acquire)
    }

    /// How far it is, for who looks from outside.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Progress) -> T) -> T {
        look(&self.progress.borrow())
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self, until: Instant) {
        let mut progress = self.progress.subscribe();
        let ended = progress.wait_for(|progress| !matches!(progress.state, State::Running));
        let _ = tokio::time::timeout_at(until, ended).await;
    }

    /// The blob's size and file, as soon as both are known.
    pub(super) async fn opened(&self, interest: Interest, until: Instant) -> Result<Opened, PullError> {
        let mut progress = self.progress.subscribe();
        let open = |progress: &Progress| match (&progress.state, progress.size, &progress.file) {
            (State::Failed(error), ..) => Some(Err(error.clone())),
            (_, Some(size), Some(file)) => Some(Ok((size, Arc::clone(file)))),
            _ => None,
        };
        let waited = tokio::time::timeout_at(until, progress.wait_for(|progress| open(progress).is_some())).await;
        let now = waited.map_err(|_| PullError::Late)?.map_err(|_| PullError::Stopped)?;
        let (size, file) = open(&now).unwrap_or(Err(PullError::Stopped))?;
        Ok(Opened { size, file, _interest: Arc::new(interest) })
    }
}
