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
        let free = rustix::fs::statvfs(self.layout.scratch())
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let most = free.saturating_add(self.bytes.get()).saturating_add(there);
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
        let full = if is_full && self.eviction_helps(total / 10, self.free()) { total / 10 } else { 0 };
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

    /// Bytes that are free on the disk; 0 where it cannot say.
    fn free(&self) -> u64 {
        rustix::fs::statvfs(self.layout.blobs()).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
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
mod tests {
    use super::*;
    use crate::store::files;
    use std::fs;

    /// Ten blobs of 100 bytes, pulled an hour apart, the one named `00…` first.
    fn ten_blobs(limit: Option<u64>) -> (tempfile::TempDir, Room) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("blobs/sha256/00");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(dir.path().join("manifests")).unwrap();
        for age in 0..10 {
            let path = folder.join(age.to_string().repeat(64));
            fs::write(&path, [0; 100]).unwrap();
            let pulled = SystemTime::now() - Duration::from_secs(3600 * (10 - age));
            fs::File::options().write(true).open(path).unwrap().set_modified(pulled).unwrap();
        }
        let room = room(&Layout::new(dir.path().into()), limit);
        (dir, room)
    }

    fn room(layout: &Layout, limit: Option<u64>) -> Room {
        let origins = Arc::new(Origins::new(layout.clone(), files::ScratchNames::new(layout.scratch())));
        Room::new(
            layout.clone(),
            origins,
            Arc::new(OpenBlobs::new()),
            limit,
            Gauge::default(),
            (Tasks::default(), Weak::new()),
        )
    }

    /// The first letters of the names of those that are left.
    fn left(dir: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<_> = files::entries(&dir.path().join("blobs/sha256/00"))
            .into_iter()
            .map(|entry| entry.file_name().to_string_lossy()[..1].to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn beyond_the_limit_the_least_recently_pulled_go_down_to_nine_tenths() {
        let (dir, room) = ten_blobs(Some(500));
        room.tidy();
        assert_eq!((left(&dir).join(""), room.bytes.get()), ("6789".into(), 400));
        room.tidy();
        assert_eq!(left(&dir).len(), 4);
    }

    #[test]
    fn a_blob_on_its_way_has_room_made_and_one_beyond_the_limit_has_none() {
        let (dir, room) = ten_blobs(Some(1000));
        let room = Arc::new(room);
        let mut coming = room.reserve();
        assert!(!coming.grow_to(1001) && coming.grow_to(200));
        room.tidy();
        assert_eq!(left(&dir).join(""), "3456789");
        drop(coming);
        room.tidy();
        assert_eq!(left(&dir).len(), 7);
    }

    #[test]
    fn blobs_on_their_way_share_the_limit() {
        let (_dir, room) = ten_blobs(Some(1000));
        let room = Arc::new(room);
        let (mut one, mut other) = (room.reserve(), room.reserve());
        assert!(one.grow_to(600) && one.grow_to(500) && !other.grow_to(401));
        assert!(other.grow_to(300) && other.grow_to(400) && !other.grow_to(401));
        drop(one);
        assert!(other.grow_to(1000));
        drop(other);
        assert_eq!(room.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn within_the_limit_or_without_one_everything_stays() {
        for limit in [Some(1000), None] {
            let (dir, room) = ten_blobs(limit);
            room.tidy();
            assert_eq!((left(&dir).len(), room.bytes.get()), (10, 1000));
        }
    }

    #[test]
    fn a_full_disk_costs_a_tenth_and_no_more_within_a_minute_where_that_gains_nothing() {
        let (dir, room) = ten_blobs(None);
        for _ in 0..3 {
            room.disk_is_full();
            room.tidy();
            assert_eq!((left(&dir).join(""), room.bytes.get()), ("123456789".into(), 900));
        }
        assert!(room.eviction_helps(90, 89) && room.eviction_helps(90, 0), "it is full indeed");
        assert!(!room.eviction_helps(90, 90));
        *lock(&room.was_full) = Instant::now().checked_sub(FULL_EVERY);
        assert!(room.eviction_helps(90, 90), "perhaps others need it");
    }

    #[tokio::test]
    async fn a_stop_ends_a_count_and_nothing_goes_by_half_of_one() {
        let (dir, room) = ten_blobs(Some(500));
        room.stop.stop().await;
        assert_eq!(room.count(0).total(), 0);
        room.tidy();
        assert_eq!(left(&dir).len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_counts_there_is_a_pause() {
        let (dir, room) = ten_blobs(None);
        let lock = Arc::new(File::open(dir.path()).unwrap());
        let room = Arc::new(Room { lock: Arc::downgrade(&lock), ..room });
        tokio::spawn(Arc::clone(&room).keep());
        let evicted = async |count: usize| {
            while left(&dir).len() > count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        room.set_limit(Some(900));
        evicted(8).await;
        let began = tokio::time::Instant::now();
        room.set_limit(Some(500));
        evicted(4).await;
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    }

    fn age(path: &Path, hours: u64) {
        let then = SystemTime::now() - Duration::from_secs(3600 * hours);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    /// A blob on its way that nobody fills: `bytes` of it are on the disk, and it was last written so many hours ago.
    fn unfinished(room: &Room, letter: &str, bytes: usize, hours: u64) -> std::path::PathBuf {
        let digest = format!("sha256:{}", letter.repeat(64)).parse().unwrap();
        fs::create_dir_all(room.layout.scratch()).unwrap();
        let data = room.layout.fill(&digest);
        fs::write(&data, vec![1; bytes]).unwrap();
        fs::write(room.layout.fill_sums(&digest), "").unwrap();
        age(&data, hours);
        data
    }

    #[test]
    fn p11_blobs_on_their_way_that_nobody_fills_count_and_go_first_and_after_a_day() {
        let (dir, room) = ten_blobs(Some(30_000));
        let (old, day) = (unfinished(&room, "a", 8192, 23), unfinished(&room, "b", 8192, 25));
        let new = unfinished(&room, "c", 8192, 1);
        room.tidy();
        assert!(!day.exists() && old.exists() && new.exists(), "a day is over");
        assert_eq!((left(&dir).len(), room.bytes.get()), (10, 2 * 8192 + 1000));
        assert!(!Layout::filled(&day).is_none_or(|digest| room.layout.fill_sums(&digest).exists()));
        let filled = room.claims.take(&Layout::filled(&old).unwrap());
        room.set_limit(Some(900));
        room.tidy();
        assert!(!new.exists() && old.exists(), "but not what a fill goes on with");
        assert_eq!((left(&dir).len(), room.bytes.get()), (8, 800), "and what is kept goes last");
        drop(filled);
    }

    #[test]
    fn p11_what_is_pulled_since_it_was_counted_stays() {
        let (dir, room) = ten_blobs(None);
        let ages = room.count(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed());
        age(&dir.path().join("blobs/sha256/00").join("0".repeat(64)), 0);
        assert_eq!(room.evict(ages.cutoff(300)), 200);
        assert_eq!(left(&dir).join(""), "03456789");
    }

    #[test]
    fn checksums_without_a_blob_go_and_those_of_a_blob_go_with_it() {
        let (dir, room) = ten_blobs(Some(900));
        let folder = dir.path().join("blobs/sha256/00");
        for letter in ["0", "9", "a"] {
            fs::write(folder.join(format!("{}.sums", letter.repeat(64))), "").unwrap();
        }
        room.tidy();
        assert_eq!(left(&dir).join(""), "234567899", "the checksums of the last are left");
    }

    /// Of the 20,000 the older half goes, whatever folder it is in, while others come and are pulled.
    #[test]
    fn p11_of_many_the_oldest_go_and_it_takes_no_memory_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().into());
        let path = |number: u64| {
            let digest = format!("sha256:{:02x}{number:062x}", number % 256).parse().unwrap();
            layout.blob(&digest)
        };
        for number in 0..20_000 {
            if number < 256 {
                fs::create_dir_all(path(number).parent().unwrap()).unwrap();
            }
            fs::write(path(number), [0; 10]).unwrap();
            age(&path(number), 1 + (20_000 - number) / 100);
        }
        let room = room(&layout, Some(111_111));
        room.tidy();
        assert_eq!(room.bytes.get(), 100_000);
        // Ages are told to two hundredths: what is clearly older went, what is clearly younger is there.
        assert!((0..9_700).all(|number| !path(number).exists()));
        assert!((10_300..20_000).all(|number| path(number).exists()));
        assert!(std::mem::size_of_val(&Ages::new(0)) < 100 && Ages::new(0).memory() < 64 << 10);
    }

    #[test]
    fn what_is_no_content_is_passed_over_and_what_cannot_be_removed_stops_nothing() {
        let (dir, room) = ten_blobs(Some(500));
        let blobs = dir.path().join("blobs");
        fs::write(blobs.join(".DS_Store"), [0; 1000]).unwrap();
        fs::write(blobs.join("sha256/stray"), [0; 1000]).unwrap();
        fs::write(blobs.join("sha256/00/stray"), [0; 1000]).unwrap();
        fs::create_dir(blobs.join("sha256/00").join("a".repeat(64))).unwrap();
        std::os::unix::fs::symlink("/none", blobs.join("sha256/00").join("b".repeat(64))).unwrap();
        fs::remove_dir(dir.path().join("manifests")).unwrap();
        room.tidy();
        assert_eq!((left(&dir).join(""), room.bytes.get()), ("6789abs".into(), 400));
        assert!(!files::remove(&blobs.join("sha256/00").join("a".repeat(64))), "a folder");
        assert!(files::remove(&blobs.join("gone already")));
    }
}
