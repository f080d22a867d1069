//! What goes when it is too much, and when it is looked for.

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
