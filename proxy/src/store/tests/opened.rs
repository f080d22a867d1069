//! Blobs that are held open between pulls.

use super::*;

#[tokio::test]
async fn an_open_blob_is_shared_until_it_changes_or_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let digest = keep(&store, &large()).await;
    let (one, other) = (store.blob(&digest).await.unwrap(), store.blob(&digest).await.unwrap());
    assert!(Arc::ptr_eq(&one.file, &other.file));
    writable(&store.layout.blob(&digest)).write_all_at(&large()[..1], 0).unwrap();
    let again = store.blob(&digest).await.unwrap();
    assert!(!Arc::ptr_eq(&one.file, &again.file) && !again.is_sound(whole(&again)), "written to, if the same");
    assert!(again.check(whole(&again)).unwrap());
    fs::remove_file(store.layout.blob(&digest)).unwrap();
    assert!(store.blob(&digest).await.is_none());
    let held = Arc::downgrade(&again.file);
    drop((one, other, again));
    assert!(held.upgrade().is_none(), "no file descriptor keeps its bytes on the disk");
}

/// Without threads for work that may block, such as a look into a folder.
#[test]
fn an_open_blob_is_found_without_blocking_work() {
    let runtime = |blocking| {
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(blocking).enable_all().build().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let (kept, digest) = runtime(1).block_on(async {
        let kept = store(dir.path()).await;
        let digest = keep(&kept, &large()).await;
        kept.blob(&digest).await.unwrap();
        (kept, digest)
    });
    runtime(1).block_on(async {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || wait.recv());
        assert!(kept.blob(&digest).await.is_some());
        let other = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let missing = kept.blob(&other);
        let late = tokio::time::timeout(Duration::from_millis(50), missing).await;
        assert!(late.is_err(), "the only thread was taken");
        drop(release);
        let _ = busy.await;
    });
}

#[tokio::test]
async fn an_old_blob_is_touched_by_a_pull_and_stays_verified() {
    let dir = tempfile::tempdir().unwrap();
    let kept = store(dir.path()).await;
    let digest = keep(&kept, &large()).await;
    let path = kept.layout.blob(&digest);
    let age = || writable(&path).set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let modified = || fs::metadata(&path).unwrap().modified().unwrap();
    age();
    let blob = kept.blob(&digest).await.unwrap(); // opened, touched, and checked again, for its times changed
    assert!(modified().elapsed().unwrap() < Duration::from_secs(60));
    assert!(blob.check(whole(&blob)).unwrap());
    assert!(Arc::ptr_eq(&blob.file, &kept.blob(&digest).await.unwrap().file), "our own touch changes nothing");
    kept.opened.forget_removed();
    let meta = fs::metadata(&path).unwrap();
    assert!(kept.opened.verified.knows(&digest, &crate::store::verified::Stamp::of(&meta)));
}

#[tokio::test]
async fn p5_a_pull_that_is_noted_does_not_make_sound_what_others_changed() {
    let dir = tempfile::tempdir().unwrap();
    let kept = store(dir.path()).await;
    let digest = keep(&kept, &large()).await;
    let path = kept.layout.blob(&digest);
    writable(&path).set_modified(SystemTime::UNIX_EPOCH).unwrap();
    kept.blob(&digest).await.unwrap();
    let (opened, _) = kept.opened.get(&digest).unwrap();
    writable(&path).write_all_at(b"x", 0).unwrap();
    opened.touch();
    assert!(kept.opened.get(&digest).is_none(), "it is not what was opened");
    assert_eq!(read(&kept, &digest).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_blob_stays_open_while_its_pull_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let kept = store(dir.path()).await;
    let digest = keep(&kept, &large()).await;
    kept.blob(&digest).await.unwrap();
    let (opened, _) = kept.opened.get(&digest).unwrap();
    let touching = std::thread::spawn(move || (0..2000).for_each(|_| opened.touch()));
    while !touching.is_finished() {
        assert!(kept.opened.get(&digest).is_some(), "a touch of ours looks like a change");
    }
}

#[tokio::test]
async fn what_went_before_it_was_added_is_not_held_open() {
    let dir = tempfile::tempdir().unwrap();
    let kept = store(dir.path()).await;
    let digest = keep(&kept, &large()).await;
    let file = File::open(kept.layout.blob(&digest)).unwrap();
    let meta = file.metadata().unwrap();
    assert!(kept.origins.evict(&kept.layout.blob(&digest)));
    kept.opened.forget(&digest);
    let held = Arc::downgrade(&kept.opened.add(&digest, file, &meta, crate::store::soundness::Soundness::whole()));
    assert!(held.upgrade().is_none());
}
