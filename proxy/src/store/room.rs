//! Room: how much is kept, and what goes when it is too much.

use std::{
    fs::File,
    ops::RangeInclusive,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prometheus_client::metrics::gauge::Gauge;
use tidepool_oci::Digest;
use tokio::sync::Notify;

use super::{
    ages::{Ages, Cutoff},
    claims::Claims,
    layout::Layout,
    opened::OpenBlobs,
    origins::Origins,
    unfinished::Unfinished,
    walk::{Found, walk},
};
use crate::tasks::{Tasks, lock};

/// How often the content is counted anew even when nothing was added: other hands may have removed some.
const RECOUNT_EVERY: Duration = Duration::from_secs(3600);

/// Until then the process has better things to do: it starts, and nodes may be waiting.
const FIRST_COUNT_AFTER: Duration = Duration::from_secs(1);

/// Of so much closed content is remembered that it went, before what is noted of it goes.
const AT_ONCE: usize = 4096;

/// Counting reads every folder: a pause of so many times what it took comes after it, within these bounds. What comes
/// meanwhile may be too much, for as long.
const PAUSE_FACTOR: u32 = 10;
const PAUSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// How often content goes for a full disk that has as much free as would come of it: perhaps a blob is larger than the
/// disk, and it would all go for nothing.
const FULL_EVERY: Duration = Duration::from_secs(60);

/// Counts what is kept and evicts the least recently pulled.
#[derive(Debug)]
pub(super) struct Room {
    layout: Layout,
    origins: Arc<Origins>,
    opened: Arc<OpenBlobs>,
    pub(super) claims: Claims,
    /// `u64::MAX`: none.
    limit: AtomicU64,
    bytes: Gauge<u64, AtomicU64>,
    /// Of fills.
    reserved: AtomicU64,
    /// Added since the last count began.
    came: AtomicU64,
    /// Whether `bytes` tells of all that was there at the start.
    counted: AtomicBool,
    disk_is_full: AtomicBool,
    /// When content last went for it.
    was_full: Mutex<Option<Instant>>,
    wake: Notify,
    stop: Tasks,
    /// The store's, which is gone once nobody uses it.
    lock: Weak<File>,
}

/// Room for a blob being filled, given back when dropped. The blob is counted a moment later, when it is in its place: by
/// so much too little is known to be kept until then.
#[derive(Debug)]
pub(crate) struct Reservation {
    room: Arc<Room>,
    bytes: u64,
}

impl Reservation {
    /// Makes room for `bytes` in all, before they come; `false`, and no change, when they and what is reserved for
    /// other blobs are more than there may be.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return true };
        let limit = self.room.limit();
        let grown = |reserved: u64| reserved.checked_add(more).filter(|all| *all <= limit);
        let fits = self.room.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if fits {
            self.bytes = bytes;
            self.room.wake_if_over();
        }
        fits
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Room {
    pub(super) fn new(
        layout: Layout,
        origins: Arc<Origins>,
        opened: Arc<OpenBlobs>,
        limit: Option<u64>,
        bytes: Gauge<u64, AtomicU64>,
        (stop, lock): (Tasks, Weak<File>),
    ) -> Self {
        Self {
            layout,
            origins,
            opened,
            claims: Claims::default(),
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            bytes,
            reserved: AtomicU64::new(0),
            came: AtomicU64::new(0),
            disk_is_full: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            was_full: Mutex::default(),
            wake: Notify::new(),
            stop,
            lock,
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether a blob of that many bytes has room when all else goes; `there` of them are on the disk already.
    pub(super) fn could_hold(&self, size: u64, there: u64) -> bool {
        let free = self.free().unwrap_or(u64::MAX);
        // Nobody knows how much else there is before it was counted.
        let kept = if self.counted.load(Ordering::Relaxed) { self.bytes.get() } else { u64::MAX };
        let most = free.saturating_add(kept).saturating_add(there);
        size <= self.limit() && size <= most
    }

    /// Changes the limit; what is too much then goes.
    pub(super) fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.wake_if_over();
    }

    /// A reservation of nothing yet.
    pub(super) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { room: Arc::clone(self), bytes: 0 }
    }

    /// Counts new content.
    pub(super) fn added(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
        self.came.fetch_add(bytes, Ordering::Relaxed);
        self.wake_if_over();
    }

    /// Counts content that somebody else removed.
    pub(super) fn removed(&self, bytes: u64) {
        let counted = |all: u64| Some(all.saturating_sub(bytes)); // fewer while the first count is under way
        let _ = self.bytes.inner().fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    fn wake_if_over(&self) {
        let all = self.bytes.get().saturating_add(self.reserved.load(Ordering::Relaxed));
        if all > self.limit() {
            self.wake.notify_one();
        }
    }

    pub(super) fn disk_is_full(&self) {
        self.disk_is_full.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits, counts, evicts; for as long as the store is used.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut pause = FIRST_COUNT_AFTER;
        loop {
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
            pause = RECOUNT_EVERY;
            let Some(held) = self.lock.upgrade() else { return };
            let (room, began) = (Arc::clone(&self), Instant::now());
            let tidied = super::blocking(move || {
                room.tidy();
                drop(held);
                Ok(())
            });
            if let Err(error) = tidied.await {
                tracing::warn!(%error, "cannot count or evict stored content");
            }
            tokio::time::sleep((began.elapsed() * PAUSE_FACTOR).clamp(*PAUSE.start(), *PAUSE.end())).await;
        }
    }

    /// Counts what there is, and brings it down to what there may be.
    fn tidy(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        self.came.store(0, Ordering::Relaxed);
        self.opened.forget_removed();
        let ages = self.count(now);
        if self.stop.are_stopping() {
            return; // not all was counted
        }
        let unfinished = Unfinished::all(&self.layout, &self.claims);
        let total = ages.total() + unfinished.iter().map(Unfinished::bytes).sum::<u64>();
        let surplus = self.surplus(total);
        let mut removed = self.drop_unfinished(&unfinished, surplus, now);
        if surplus > removed {
            removed += self.evict(ages.cutoff(surplus - removed));
        }
        // What came while we counted was perhaps not met. Once too often does no harm: nothing goes before the next count.
        let came = self.came.load(Ordering::Relaxed);
        self.bytes.set(total.saturating_sub(removed).saturating_add(came));
        self.counted.store(true, Ordering::Relaxed);
    }

    /// Bytes of content by age; removes checksums of blobs that are gone.
    fn count(&self, now: i64) -> Ages {
        let mut ages = Ages::new(now);
        walk(&self.layout, &self.stop, &mut |found| match found {
            Found::Content(_, _, meta) => ages.add(meta.mtime(), meta.len()),
            Found::Sums(sums) => self.origins.remove_orphan(&sums),
        });
        ages
    }

    /// How many bytes must go: down to 90 % of the limit, so that not every fill evicts.
    fn surplus(&self, total: u64) -> u64 {
        let all = total.saturating_add(self.reserved.load(Ordering::Relaxed));
        let limit = self.limit();
        let over = if all > limit { all - (limit - limit / 10) } else { 0 };
        let is_full = self.disk_is_full.swap(false, Ordering::Relaxed);
        let full = if is_full && self.eviction_helps(total / 10, self.free().unwrap_or(0)) { total / 10 } else { 0 };
        over.max(full)
    }

    /// Whether a full disk is to be given so many bytes more than are free now.
    fn eviction_helps(&self, more: u64, free: u64) -> bool {
        let mut was_full = lock(&self.was_full);
        if free >= more && was_full.is_some_and(|then| then.elapsed() < FULL_EVERY) {
            return false;
        }
        *was_full = Some(Instant::now());
        true
    }

    /// Bytes that are free on the disk; none where it cannot say.
    fn free(&self) -> Option<u64> {
        rustix::fs::statvfs(self.layout.blobs()).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).ok()
    }

    /// Removes blobs on their way that nobody fills: old ones, and others until `surplus` bytes are gone.
    fn drop_unfinished(&self, unfinished: &[Unfinished], surplus: u64, now: i64) -> u64 {
        let mut removed = 0;
        for one in unfinished {
            if removed < surplus || one.is_old(now) {
                removed += one.remove(&self.layout, &self.claims);
            }
        }
        removed
    }

    /// Removes the least recently pulled. What was pulled since it was counted stays: its time is read again.
    fn evict(&self, mut cutoff: Cutoff) -> u64 {
        let (mut removed, mut files, mut went) = (0, 0_u64, Vec::new());
        walk(&self.layout, &self.stop, &mut |found| {
            let Found::Content(digest, path, meta) = found else { return };
            if cutoff.takes(meta.mtime()) && self.origins.take_out(&path) {
                self.opened.forget(&digest);
                cutoff.took(meta.mtime(), meta.len());
                removed += meta.len();
                files += 1;
                self.forget_origin(&mut went, digest);
            }
        });
        self.origins.forget(&went);
        if files > 0 {
            tracing::info!(files, bytes = removed, "evicted the least recently pulled");
        }
        removed
    }

    /// What is noted of content goes after it, a folder at a time: each is synced for it.
    fn forget_origin(&self, went: &mut Vec<Digest>, digest: Digest) {
        if !self.origins.has(&digest) {
            return;
        }
        let folder = |digest: &Digest| self.layout.blob(digest).parent().map(Path::to_owned);
        if went.first().is_some_and(|first| folder(first) != folder(&digest)) || went.len() >= AT_ONCE {
            self.origins.forget(&std::mem::take(went));
        }
        went.push(digest);
    }
}

#[cfg(test)]
mod tests;
