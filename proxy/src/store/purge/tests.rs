//! What a purge takes, and what it leaves.

use super::*;
use std::os::unix::fs::FileExt as _;

use crate::store::{
    BLOCK, Manifest,
    blocks::block_sum,
    tests::{keep, sha256, store},
};

async fn manifest(store: &Arc<Store>, text: String, origin: Option<&str>) -> Digest {
    let (digest, bytes) = (sha256(text.as_bytes()), text.into_bytes().into());
    let manifest = Arc::new(Manifest { digest: digest.clone(), media_type: "application/x".into(), bytes });
    store.put_manifest(&manifest, origin.map(str::to_owned)).await.unwrap();
    digest
}

/// An image of one layer of its own and one that all share.
async fn image(store: &Arc<Store>, layer: &str, origin: Option<&str>) -> Digest {
    let (own, shared) = (keep(store, layer.as_bytes()).await, keep(store, b"shared").await);
    manifest(store, format!(r#"{{"config":{{"digest":"{own}"}},"layers":[{{"digest":"{shared}"}}]}}"#), origin).await
}

async fn tag(store: &Arc<Store>, repository: &str, tag: &str, digest: &Digest) {
    let record = TagRecord { digest: digest.clone(), checked: 1, closed: false };
    store.put_tag(&RegistryName::docker_hub(), &repository.parse().unwrap(), tag, record).await.unwrap();
}

async fn tagged(store: &Arc<Store>, repository: &str, tag: &str) -> bool {
    store.tag(&RegistryName::docker_hub(), &repository.parse().unwrap(), tag).await.is_some()
}

fn a_tag(repository: &str, tag: &str) -> Purge {
    Purge::Tag { registry: RegistryName::docker_hub(), repository: repository.parse().unwrap(), tag: tag.into() }
}

fn a_repository(repository: &str) -> Purge {
    Purge::Repository { registry: RegistryName::docker_hub(), repository: repository.parse().unwrap() }
}

async fn kept(store: &Arc<Store>, blob: &str) -> bool {
    store.blob(&sha256(blob.as_bytes())).await.is_some()
}

#[tokio::test]
async fn p11_a_tag_goes_with_what_only_it_leads_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (one, other) = (image(&store, "one", None).await, image(&store, "other", None).await);
    let index = manifest(&store, format!(r#"{{"manifests":[{{"digest":"{one}"}}]}}"#), None).await;
    tag(&store, "a/b", "1", &index).await;
    tag(&store, "a/b", "2", &other).await;
    tag(&store, "a", "1", &other).await;
    let bytes = std::fs::metadata(store.layout.manifest(&one)).unwrap().len()
        + std::fs::metadata(store.layout.manifest(&index)).unwrap().len();
    let purged = store.purge(a_tag("a/b", "1")).await.unwrap();
    assert_eq!(purged, Purged { tags: 1, manifests: 2, blobs: 1, bytes: bytes + 3 });
    assert!(!tagged(&store, "a/b", "1").await && tagged(&store, "a/b", "2").await);
    assert!(store.manifest(&index).await.is_none() && store.manifest(&one).await.is_none());
    assert!(!kept(&store, "one").await && kept(&store, "shared").await && kept(&store, "other").await);
    // Another tag leads to the same image.
    assert_eq!(store.purge(a_tag("a/b", "2")).await.unwrap(), Purged { tags: 1, ..Purged::default() });
    assert!(kept(&store, "other").await);
    for nothing in [a_tag("a/b", "2"), a_tag("x", "1"), a_tag("a", "../../../a/_tags/1"), a_repository("none")] {
        assert_eq!(store.purge(nothing).await.unwrap(), Purged::default());
    }
    assert_eq!(store.purge(a_tag("a", "1")).await.unwrap().blobs, 2, "the last one");
}

#[tokio::test]
async fn p11_a_repository_goes_with_its_tags_and_those_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let [one, two, nested] = ["one", "two", "nested"].map(|layer| (layer, &store));
    let (one, two) = (image(one.1, one.0, None).await, image(two.1, two.0, None).await);
    let nested = image(nested.1, nested.0, None).await;
    for (repository, name, digest) in [("a", "1", &one), ("a", "2", &two), ("a/b", "1", &nested)] {
        tag(&store, repository, name, digest).await;
    }
    let purged = store.purge(a_repository("a")).await.unwrap();
    assert_eq!((purged.tags, purged.manifests, purged.blobs), (2, 2, 2));
    assert!(!tagged(&store, "a", "1").await && !tagged(&store, "a", "2").await && tagged(&store, "a/b", "1").await);
    assert!(kept(&store, "nested").await && kept(&store, "shared").await && !kept(&store, "two").await);
}

#[tokio::test]
async fn p14_content_that_needed_credentials_goes_with_the_last_repository_it_was_seen_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let line = |repository| format!("docker.io {repository} https://h/");
    let closed = image(&store, "closed", Some(&line("a"))).await;
    store.add_origin(&closed, line("a/b")).await.unwrap();
    store.purge(a_repository("a")).await.unwrap();
    assert!(store.manifest(&closed).await.is_some());
    assert_eq!(store.origins(&closed).await.unwrap(), format!("{}\n", line("a/b")), "no part of it any more");
    // A tag elsewhere leads to it: it stays, and nobody is known to be let in.
    tag(&store, "c", "1", &closed).await;
    store.purge(a_repository("a/b")).await.unwrap();
    assert_eq!(store.origins(&closed).await.as_deref(), Some(""));
    store.add_origin(&closed, line("a")).await.unwrap();
    store.purge(a_tag("c", "1")).await.unwrap();
    assert!(store.manifest(&closed).await.is_none());
}

#[tokio::test]
async fn p11_a_blob_on_its_way_that_nobody_fills_goes_with_what_is_noted_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (digest, block) = (sha256(b"large"), vec![1; usize::try_from(BLOCK).unwrap()]);
    let begin = async || {
        let partial = store.partial(&digest).await.unwrap();
        partial.set_size(2 * BLOCK).unwrap();
        partial.file().write_all_at(&block, 0).unwrap();
        partial.note(0, block_sum(&block)).unwrap();
        store.add_origin(&digest, "docker.io a https://h/".into()).await.unwrap();
        partial
    };
    let (partial, purge) = (begin().await, || store.purge(Purge::Digest(digest.clone())));
    assert_eq!(purge().await.unwrap(), Purged::default(), "somebody fills it");
    assert!(store.origins(&digest).await.is_some() && store.layout.fill(&digest).exists());
    drop(partial);
    let kept = store.room.bytes();
    let purged = purge().await.unwrap();
    assert!(purged.blobs == 1 && purged.bytes >= BLOCK && store.room.bytes() == kept - purged.bytes, "{purged:?}");
    assert_eq!(fs::read_dir(store.layout.scratch()).unwrap().count(), 0);
    assert_eq!(store.origins(&digest).await, None);
}

#[tokio::test]
async fn p11_a_digest_goes_whoever_has_it_open_and_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let digest = keep(&store, b"abc").await;
    let open = store.blob(&digest).await.unwrap();
    assert_eq!(store.purge(Purge::Digest(digest.clone())).await.unwrap().bytes, 3);
    assert!(store.blob(&digest).await.is_none() && open.check(tidepool_oci::Window { start: 0, end: 3 }).unwrap());
    keep(&store, b"abc").await;
    assert!(kept(&store, "abc").await);
}
