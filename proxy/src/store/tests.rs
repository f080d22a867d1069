//! The store as its users see it: what is kept, what is found damaged, what memory and disk it takes.

mod opened;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::gauge::Gauge;
use tidepool_oci::{Algorithm, Digest, Window};

use super::{BLOCK, Kept, Store, StoredBlob, Unchecked, blocks::block_sum};
use crate::{hash::digest_of, tasks::Tasks};

pub(super) async fn store(dir: &Path) -> Arc<Store> {
    Store::open(dir.into(), None, Gauge::default(), &Tasks::default()).await.unwrap()
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, bytes)
}

/// Keeps `bytes` as a fill does.
pub(super) async fn keep(store: &Arc<Store>, bytes: &[u8]) -> Digest {
    let digest = sha256(bytes);
    let partial = store.partial(&digest).await.unwrap();
    partial.set_size(bytes.len() as u64).unwrap();
    partial.file().write_all_at(bytes, 0).unwrap();
    for (block, bytes) in (0..).zip(bytes.chunks(usize::try_from(BLOCK).unwrap())) {
        partial.note(block, block_sum(bytes)).unwrap();
    }
    store.commit_partial(partial, &digest, None).await.unwrap();
    digest
}

/// Three blocks and a bit, no two of which are alike.
fn large() -> Vec<u8> {
    static LARGE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..3 * BLOCK + 5).map(|at| u8::try_from((at + at / BLOCK) % 251).unwrap()).collect());
    LARGE.clone()
}

fn whole(blob: &StoredBlob) -> Window {
    Window::whole(blob.size).unwrap()
}

/// All a reader would get: `None` where the blob is missing or a block is damaged, which is evicted then.
async fn read(store: &Arc<Store>, digest: &Digest) -> Option<Vec<u8>> {
    let blob = store.blob(digest).await?;
    if blob.size > 0 && !blob.is_sound(whole(&blob)) && !blob.check(whole(&blob)).unwrap() {
        store.evict_damaged(digest, &blob).await;
        return None;
    }
    let mut bytes = vec![0; usize::try_from(blob.size).unwrap()];
    blob.file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// What is done to a blob, and to the file of its checksums.
type Harm = fn(&File, &Path);

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

#[tokio::test]
async fn what_was_kept_is_found_by_the_next_process_too() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path()).await;
    let kept = [large(), large()[..2 * BLOCK as usize].to_vec(), b"abc".to_vec(), Vec::new()];
    for bytes in &kept {
        let digest = keep(&first, bytes).await;
        assert!(first.blob(&digest).await.unwrap().is_sound(Window { start: 0, end: 1 }), "hashed as it came");
        assert_eq!(read(&first, &digest).await.as_ref(), Some(bytes));
    }
    drop(first);
    let next = store(dir.path()).await;
    for bytes in &kept {
        let blob = next.blob(&sha256(bytes)).await.unwrap();
        assert_eq!(blob.is_sound(Window { start: 0, end: 1 }), bytes.len() as u64 <= BLOCK, "not looked at yet");
        assert_eq!(read(&next, &sha256(bytes)).await.as_ref(), Some(bytes));
    }
    assert_eq!(next.damaged.get(), 0);
}

#[tokio::test]
async fn p5_no_damage_of_any_kind_gets_past_the_checks_of_this_process_or_the_next() {
    let damages: [(&str, Harm); 8] = [
        ("a flipped bit", |data, _| data.write_all_at(b"\xff", 2 * BLOCK + 1).unwrap()),
        ("a zeroed page", |data, _| data.write_all_at(&[0; 4096], 4096).unwrap()),
        ("a hole", |data, _| {
            data.set_len(BLOCK).unwrap();
            data.set_len(3 * BLOCK + 5).unwrap();
        }),
        ("cut short", |data, _| data.set_len(3 * BLOCK + 4).unwrap()),
        ("cut to a block", |data, _| data.set_len(BLOCK).unwrap()),
        ("emptied", |data, _| data.set_len(0).unwrap()),
        ("longer", |data, _| data.set_len(3 * BLOCK + 6).unwrap()),
        ("a flipped bit, and no checksums", |data, sums| {
            data.write_all_at(b"\xff", 2 * BLOCK + 1).unwrap();
            fs::remove_file(sums).unwrap();
        }),
    ];
    for (damage, harm) in damages {
        for restart in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut kept = store(dir.path()).await;
            let digest = keep(&kept, &large()).await;
            assert_eq!(read(&kept, &digest).await.unwrap(), large());
            let (data, sums) = (kept.layout.blob(&digest), kept.layout.sums(&digest));
            harm(&writable(&data), &sums);
            if restart {
                drop(kept);
                kept = store(dir.path()).await;
            }
            assert_eq!(read(&kept, &digest).await, None, "{damage}, restart: {restart}");
            assert!(!data.exists() && !sums.exists(), "{damage}: removed, to be filled again");
            assert_eq!(kept.damaged.get(), 1);
        }
    }
}

#[tokio::test]
async fn p5_torn_or_missing_checksums_are_made_anew_and_nothing_is_lost() {
    let tears: [fn(&Path); 4] = [
        |sums| fs::remove_file(sums).unwrap(),
        |sums| writable(sums).set_len(30).unwrap(),
        |sums| writable(sums).write_all_at(&[1], 33).unwrap(),
        |sums| writable(sums).write_all_at(&[0; 64], 0).unwrap(),
    ];
    for tear in tears {
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path()).await;
        let digest = keep(&first, &large()).await;
        drop(first);
        let next = store(dir.path()).await;
        let sums = next.layout.sums(&digest);
        let before = fs::read(&sums).unwrap();
        tear(&sums);
        let Some(Kept::Unchecked(unchecked)) = next.kept(&digest).await else {
            panic!("nothing tells that it is sound")
        };
        let mut told = Vec::new();
        let blob = next.rehash(&digest, &unchecked, |at| told.push(at)).unwrap().unwrap();
        assert!(blob.is_sound(whole(&blob)));
        assert!(told.is_sorted() && told.last() == Some(&blob.size));
        assert_eq!(fs::read(&sums).unwrap(), before);
        assert_eq!(read(&next, &digest).await, Some(large()));
        // And who cannot wait for it bit by bit has it hashed first.
        drop((blob, next));
        tear(&sums);
        assert_eq!(read(&store(dir.path()).await, &digest).await, Some(large()));
    }
}

#[tokio::test]
async fn p5_of_many_who_find_the_same_damage_one_evicts_and_none_what_was_filled_since() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path()).await;
    let digest = keep(&first, &large()).await;
    writable(&first.layout.blob(&digest)).write_all_at(b"x", 0).unwrap();
    let (one, other) = (first.blob(&digest).await.unwrap(), first.blob(&digest).await.unwrap());
    assert!(!one.check(whole(&one)).unwrap() && !other.check(whole(&other)).unwrap());
    first.evict_damaged(&digest, &one).await;
    keep(&first, &large()).await;
    first.evict_damaged(&digest, &other).await;
    assert_eq!(read(&first, &digest).await, Some(large()));
    assert_eq!(first.damaged.get(), 1);
}

#[tokio::test]
async fn a_blob_is_kept_where_the_disk_has_no_room_for_its_checksums() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path()).await;
    let sums = first.layout.sums(&sha256(&large()));
    fs::create_dir_all(sums.join("in the way")).unwrap();
    let digest = keep(&first, &large()).await;
    assert!(first.blob(&digest).await.unwrap().is_sound(whole(&first.blob(&digest).await.unwrap())));
    fs::remove_dir_all(sums).unwrap();
    drop(first);
    assert_eq!(read(&store(dir.path()).await, &digest).await, Some(large()));
}

#[tokio::test]
async fn a_hash_of_a_large_blob_ends_when_the_process_stops_and_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::default();
    let kept = Store::open(dir.path().into(), None, Gauge::default(), &tasks).await.unwrap();
    let digest = keep(&kept, &large()).await;
    let file = Arc::new(File::open(kept.layout.blob(&digest)).unwrap());
    let (unchecked, mut hashed) = (Unchecked { file, size: large().len() as u64 }, 0);
    tasks.stop().await;
    assert!(kept.rehash(&digest, &unchecked, |at| hashed = at).is_err());
    assert!(hashed <= BLOCK && kept.layout.blob(&digest).exists());
}

#[tokio::test(start_paused = true)]
async fn a_store_is_locked_for_as_long_as_somebody_writes_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::default();
    let first = Store::open(dir.path().into(), None, Gauge::default(), &tasks).await.unwrap();
    let partial = first.partial(&sha256(b"abc")).await.unwrap();
    tasks.stop().await;
    drop(first);
    let next = async || Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await;
    assert!(matches!(next().await, Err(super::OpenError::Taken { .. })));
    drop(partial);
    assert!(next().await.is_ok());
}

#[tokio::test]
async fn a_blob_whose_blocks_were_not_all_noted_is_hashed_before_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = store(dir.path()).await;
    for (bytes, right) in [(large(), true), (vec![1; large().len()], false)] {
        let digest = sha256(&large());
        let partial = kept.partial(&digest).await.unwrap();
        partial.file().write_all_at(&bytes, 0).unwrap();
        assert_eq!(kept.commit_partial(partial, &digest, None).await.is_ok(), right);
        assert_eq!(kept.layout.sums(&digest).exists(), right);
        assert_eq!(read(&kept, &digest).await.is_some(), right);
        let _ = fs::remove_file(kept.layout.blob(&digest));
        let _ = fs::remove_file(kept.layout.sums(&digest));
    }
    assert_eq!(fs::read_dir(kept.layout.scratch()).unwrap().count(), 0);
}
