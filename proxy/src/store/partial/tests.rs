//! What a blob on its way leaves to the next fill, and to who reads it still.

use super::*;
use crate::{
    store::blocks::{BLOCK, block_sum},
    tasks::Tasks,
};
use prometheus_client::metrics::gauge::Gauge;
use std::{fs, sync::LazyLock};

const SIZE: u64 = 3 * BLOCK + 5;

async fn store(dir: &Path) -> Arc<Store> {
    Store::open(dir.into(), None, Gauge::default(), &Tasks::default()).await.unwrap()
}

fn digest() -> Digest {
    crate::hash::digest_of(tidepool_oci::Algorithm::Sha256, &content())
}

fn content() -> Vec<u8> {
    static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect());
    CONTENT.clone()
}

fn write(partial: &Partial, block: u64) {
    let part = window(block, SIZE);
    let bytes = &content()[usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap()];
    partial.file().write_all_at(bytes, part.start).unwrap();
    partial.note(block, block_sum(bytes)).unwrap();
}

/// A partial of which these blocks are there.
async fn begun(store: &Store, blocks: &[u64]) -> Partial {
    let partial = store.partial(&digest()).await.unwrap();
    partial.set_size(SIZE).unwrap();
    blocks.iter().for_each(|block| write(&partial, *block));
    partial
}

async fn taken_over(store: &Store) -> Vec<u64> {
    let partial = store.partial(&digest()).await.unwrap();
    partial.present().iter().map(|window| window.start / BLOCK).collect()
}

fn in_tmp(store: &Store) -> usize {
    fs::read_dir(store.layout.scratch()).unwrap().count()
}

#[tokio::test]
async fn p11_the_next_process_goes_on_with_what_is_there_but_never_takes_over_the_last_block() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path()).await;
    drop(begun(&first, &[0, 2, 3]).await);
    assert_eq!(taken_over(&first).await, [0, 2], "after a failed fill");
    drop(first);
    let next = store(dir.path()).await;
    assert_eq!(taken_over(&next).await, [0, 2], "after a restart");
    let partial = begun(&next, &[1, 3]).await;
    assert_eq!(partial.size(), Some(SIZE));
    next.commit_partial(partial, &digest(), None).await.unwrap();
    assert_eq!(in_tmp(&next), 0);
    assert_eq!(fs::read(next.layout.blob(&digest())).unwrap(), content());
    let sums = fs::read(next.layout.sums(&digest())).unwrap();
    let sums = BlockSums::decode(&digest(), &sums).unwrap();
    assert!((0..4).all(|block| is_block_of(&content(), &sums, block)));
}

fn is_block_of(content: &[u8], sums: &BlockSums, block: u64) -> bool {
    let part = window(block, SIZE);
    let bytes = &content[usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap()];
    sums.get(block) == Some(block_sum(bytes))
}

#[tokio::test]
async fn p11_blocks_that_do_not_match_are_not_taken_over() {
    let damages: [fn(&File, &File); 6] = [
        |data, _| data.write_all_at(b"x", BLOCK + 7).unwrap(),
        |data, _| data.write_all_at(&[0; 4096], BLOCK).unwrap(),
        |_, sums| sums.write_all_at(&[1], BlockSums::offset(1)).unwrap(),
        |_, sums| sums.write_all_at(&[0; 8], BlockSums::offset(1)).unwrap(),
        |data, sums| (data.set_len(2 * BLOCK).unwrap(), sums.set_len(0).unwrap()).0,
        |data, _| data.set_len(SIZE - 1).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        drop(begun(&store, &[0, 1, 2]).await);
        let open = |path| File::options().write(true).open(path).unwrap();
        damage(&open(store.layout.fill(&digest())), &open(store.layout.fill_sums(&digest())));
        let left: &[u64] = if number < 4 { &[0, 2] } else { &[] };
        assert_eq!(taken_over(&store).await, left, "damage {number}");
    }
}

#[tokio::test]
async fn another_size_or_another_digest_takes_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    drop(begun(&store, &[0, 1]).await);
    let other: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    fs::copy(store.layout.fill(&digest()), store.layout.fill(&other)).unwrap();
    fs::copy(store.layout.fill_sums(&digest()), store.layout.fill_sums(&other)).unwrap();
    assert_eq!(store.partial(&other).await.unwrap().present(), []);
    let partial = store.partial(&digest()).await.unwrap();
    partial.set_size(SIZE + 1).unwrap();
    assert_eq!(partial.present(), []);
    assert!(partial.set_size(u64::MAX).is_err());
    drop(partial);
    assert_eq!(taken_over(&store).await, [0; 0]);
    assert_eq!(in_tmp(&store), 0, "what holds nothing is not left behind");
}

#[tokio::test]
async fn what_begins_anew_does_so_in_another_file_and_who_reads_the_one_before_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    for how in ["forgotten", "of another size", "damaged"] {
        let mut partial = begun(&store, &[0, 1]).await;
        let lent = partial.file();
        match how {
            "forgotten" => partial.forget().unwrap(),
            "damaged" => {
                File::options().write(true).open(store.layout.fill_sums(&digest())).unwrap().set_len(0).unwrap();
                drop(partial);
                partial = store.partial(&digest()).await.unwrap();
            }
            _ => partial.set_size(SIZE + 1).unwrap(),
        }
        let mut read = vec![0; 2 * usize::try_from(BLOCK).unwrap()];
        partial.file().write_all_at(b"other bytes", 0).unwrap();
        lent.read_exact_at(&mut read, 0).unwrap();
        assert!(read == content()[..read.len()], "{how}");
        assert_eq!(
            (partial.present(), partial.size()),
            (Vec::new(), how.contains("size").then_some(SIZE + 1)),
            "{how}"
        );
        partial.set_size(SIZE).unwrap();
        assert_eq!(partial.file().metadata().unwrap().len(), SIZE);
        (0..4).for_each(|block| write(&partial, block));
        store.commit_partial(partial, &digest(), None).await.unwrap();
        assert_eq!(fs::read(store.layout.blob(&digest())).unwrap(), content(), "{how}");
        assert_eq!(in_tmp(&store), 0, "{how}");
    }
}

#[tokio::test]
async fn what_is_there_of_a_blob_stays_where_its_checksums_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    drop(begun(&store, &[0, 1]).await);
    let (sums, aside) = (store.layout.fill_sums(&digest()), dir.path().join("aside"));
    fs::rename(&sums, &aside).unwrap();
    fs::create_dir(&sums).unwrap();
    assert!(store.partial(&digest()).await.is_err());
    fs::remove_dir(&sums).unwrap();
    fs::rename(&aside, &sums).unwrap();
    assert_eq!(taken_over(&store).await, [0, 1]);
}

#[tokio::test]
async fn wrong_content_goes_and_a_second_partial_of_the_same_blob_lies_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (first, second) = (begun(&store, &[0]).await, begun(&store, &[1]).await);
    drop(second);
    assert_eq!(in_tmp(&store), 2, "the first one's");
    first.discard();
    drop(first);
    assert_eq!(in_tmp(&store), 0);
    let (first, second) = (begun(&store, &[0]).await, begun(&store, &[0, 1, 2, 3]).await);
    store.commit_partial(second, &digest(), None).await.unwrap();
    assert_eq!(fs::read(store.layout.blob(&digest())).unwrap(), content());
    drop(first);
}
