//! What is noted of closed content, and that it is never without.

use super::*;
use crate::tasks::Tasks;
use prometheus_client::metrics::gauge::Gauge;

fn digest() -> Digest {
    format!("sha256:{}", "0".repeat(64)).parse().unwrap()
}

async fn store(dir: &Path) -> Arc<Store> {
    Store::open(dir.into(), None, Gauge::default(), &Tasks::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_added_at_the_same_time_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let adding = (0..32).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.add_origin(&digest(), format!("r{number}")).await.unwrap() })
    });
    for one in adding.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(store.origins(&digest()).await.unwrap().lines().count(), 32);
}

#[tokio::test]
async fn a_torn_file_says_less_and_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    store.add_origin(&digest(), "one".into()).await.unwrap();
    for torn in [&b"one\ntw\xff"[..], b"\xff\xfe", b""] {
        fs::write(store.layout.origins(&digest()), torn).unwrap();
        let noted = store.origins(&digest()).await.unwrap();
        assert_eq!(noted.lines().any(|line| line == "one"), torn.starts_with(b"one"));
        store.add_origin(&digest(), "three".into()).await.unwrap();
        assert_eq!(store.origins(&digest()).await.unwrap().lines().last(), Some("three"));
    }
}

/// What a power loss leaves is what was synced: the note and all that leads to it, before the content is in its place.
#[tokio::test]
async fn p14_a_power_loss_never_leaves_closed_content_without_its_note() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (origins, note) = (&store.origins, store.layout.origins(&digest()));
    let synced = || -> Vec<_> { note.ancestors().take(6).map(files::synced).collect() };
    origins.with(&digest(), None, || Ok(())).unwrap();
    assert_eq!(synced(), [0; 6], "open content needs none of it");
    store.add_origin(&digest(), "one".into()).await.unwrap();
    for (line, times) in [("one", 1), ("one", 1), ("two", 2)] {
        let publish = || {
            assert_eq!(synced(), [times; 6]);
            Ok(())
        };
        origins.with(&digest(), Some(line), publish).unwrap();
    }
    assert_eq!(note.ancestors().nth(5), Some(dir.path()), "up to the store's own folder");

    // And the content's removal is certain before the note goes.
    let blob = store.layout.blob(&digest());
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, "").unwrap();
    assert!(origins.take_out(&blob) && note.exists() && files::synced(blob.parent().unwrap()) == 0);
    fs::write(store.layout.fill(&digest()), "").unwrap();
    origins.forget(&[digest()]);
    assert!(note.exists(), "it is on its way again");
    fs::remove_file(store.layout.fill(&digest())).unwrap();
    origins.forget(&[digest()]);
    assert!(!note.exists() && files::synced(blob.parent().unwrap()) == 2);
}

#[tokio::test]
async fn what_is_noted_goes_with_the_last_content_of_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (blob, manifest) = (store.layout.blob(&digest()), store.layout.manifest(&digest()));
    for path in [&blob, &manifest] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    store.add_origin(&digest(), "one".into()).await.unwrap();
    assert!(store.origins.evict(&blob));
    assert_eq!(store.origins(&digest()).await.as_deref(), Some("one\n"));
    assert!(store.origins.evict(&manifest));
    assert_eq!(store.origins(&digest()).await, None);
}
