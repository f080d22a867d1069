//! Room: how much is kept, and what goes when it is too much.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tidepool_oci::Digest;
use tokio::sync::Notify;

use super::{files, layout::Layout, opened::OpenBlobs, origins::Origins};

/// How often the content is counted anew even when nothing was added: other hands may have removed some.
const RECOUNT_EVERY: Duration = Duration::from_secs(3600);

/// Counts what is kept and evicts the least recently pulled.
#[derive(Debug)]
pub(super) struct Room {
    layout: Layout,
    origins: Arc<Origins>,
    opened: Arc<OpenBlobs>,
    /// `u64::MAX`: none.
    limit: AtomicU64,
    bytes: Gauge<u64, AtomicU64>,
    /// Of fills.
    reserved: AtomicU64,
    disk_is_full: AtomicBool,
    wake: Notify,
}

/// Room for a blob being filled, given back when dropped: by then the blob is counted, or there is none.
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
    ) -> Self {
        Self {
            layout,
            origins,
            opened,
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            bytes,
            reserved: AtomicU64::new(0),
            disk_is_full: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
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
        self.wake_if_over();
    }

    /// Counts content that somebody else removed.
    pub(super) fn removed(&self, bytes: u64) {
        let counted = |all: u64| Some(all.saturating_sub(bytes)); // fewer while the first count is under way
        let _ = self.bytes.inner().fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
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

    /// Counts, evicts, waits; for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let room = Arc::clone(&self);
            let tidied = super::blocking(move || {
                room.tidy();
                Ok(())
            });
            if let Err(error) = tidied.await {
                tracing::warn!(%error, "cannot count or evict stored content");
            }
            let _ = tokio::time::timeout(RECOUNT_EVERY, self.wake.notified()).await;
        }
    }

    /// Counts what there is, and brings it down to what there may be.
    fn tidy(&self) {
        let mut by_age = BTreeMap::<i64, u64>::new();
        self.walk(&mut |_, pulled, size| {
            *by_age.entry(pulled).or_default() += size;
            true
        });
        let total: u64 = by_age.values().sum();
        let surplus = self.surplus(total);
        let removed = if surplus > 0 { self.evict(&by_age, surplus) } else { 0 };
        self.bytes.set(total.saturating_sub(removed));
    }

    /// How many bytes must go: down to 90 % of the limit, so that not every fill evicts.
    fn surplus(&self, total: u64) -> u64 {
        let all = total.saturating_add(self.reserved.load(Ordering::Relaxed));
        let limit = self.limit();
        let over = if all > limit { all - (limit - limit / 10) } else { 0 };
        let full = if self.disk_is_full.swap(false, Ordering::Relaxed) { total / 10 } else { 0 };
        over.max(full)
    }

    /// Removes the oldest, all of one second at a time, until `surplus` bytes are gone.
    fn evict(&self, by_age: &BTreeMap<i64, u64>, surplus: u64) -> u64 {
        let mut sum = 0;
        let last = by_age.iter().find(|(_, size)| {
            sum += **size;
            sum >= surplus
        });
        let cutoff = last.map_or(i64::MAX, |(&pulled, _)| pulled);
        let (mut removed, mut files) = (0, 0_u64);
        self.walk(&mut |path, pulled, size| {
            if pulled <= cutoff && self.origins.evict(path) {
                if let Some(digest) = Layout::digest_of(path) {
                    self.opened.forget(&digest);
                }
                removed += size;
                files += 1;
            }
            removed < surplus
        });
        tracing::info!(files, bytes = removed, "evicted the least recently pulled");
        removed
    }

    /// Visits every blob and manifest with its last pull and size, until the visitor says enough; passes over what else
    /// lies there.
    fn walk(&self, visit: &mut dyn FnMut(&Path, i64, u64) -> bool) {
        for folder in [self.layout.blobs(), self.layout.manifests()] {
            for algorithm in folders(&folder) {
                let algorithm_name = algorithm.file_name();
                for prefix in folders(&algorithm.path()) {
                    for entry in files::entries(&prefix.path()) {
                        let digest = format!("{}:{}", algorithm_name.display(), entry.file_name().display());
                        let meta = entry.metadata().ok().filter(fs::Metadata::is_file);
                        let Some(meta) = meta.filter(|_| digest.parse::<Digest>().is_ok()) else { continue };
                        if !visit(&entry.path(), meta.mtime(), meta.len()) {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// The folders in a folder; two levels hold at most 256 of them, the third what chance spreads over them.
fn folders(folder: &Path) -> Vec<fs::DirEntry> {
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    files::entries(folder).into_iter().filter(is_folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Ten blobs of 100 bytes, pulled a minute apart, the one named `00…` first.
    fn ten_blobs(limit: Option<u64>) -> (tempfile::TempDir, Room) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("blobs/sha256/00");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(dir.path().join("manifests")).unwrap();
        for age in 0..10 {
            let path = folder.join(age.to_string().repeat(64));
            fs::write(&path, [0; 100]).unwrap();
            let pulled = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * age);
            fs::File::options().write(true).open(path).unwrap().set_modified(pulled).unwrap();
        }
        let layout = Layout::new(dir.path().into());
        let origins = Arc::new(Origins::new(layout.clone(), files::ScratchNames::new(layout.scratch())));
        let room = Room::new(layout, origins, Arc::new(OpenBlobs::new()), limit, Gauge::default());
        (dir, room)
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
    fn a_full_disk_costs_a_tenth() {
        let (dir, room) = ten_blobs(None);
        room.disk_is_full();
        room.tidy();
        assert_eq!((left(&dir).join(""), room.bytes.get()), ("123456789".into(), 900));
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
