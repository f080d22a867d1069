//! Manifests: verbatim bytes with their media type, hashed each time they are read from the disk. Those read lately are in
//! memory, too: there they stay right, and small answers are many.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use tidepool_oci::{Algorithm, Digest};

use super::{
    Store,
    blobs::{open, touch},
    blocking,
};
use crate::hash::{Hasher, is_content_of};

/// A manifest or index as the upstream sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Hash of `bytes`.
    pub(crate) digest: Digest,
    /// The upstream's `Content-Type`, without parameters.
    pub(crate) media_type: String,
    /// The body, verbatim.
    pub(crate) bytes: Bytes,
}

/// Bytes of manifests in memory.
const MEMORY: u64 = 8 << 20;
/// What a manifest costs besides its bytes, roughly.
const OVERHEAD: u64 = 512;
/// How long one is taken from memory before it is read again, which notes that it is still pulled.
const READ_EVERY: Duration = Duration::from_secs(300);

/// How many manifests one thread looks for before it is given back.
const READ_AT_ONCE: usize = 256;

/// The manifests that were read lately.
#[derive(Debug)]
pub(super) struct RecentManifests(Cache<Digest, (Arc<Manifest>, Instant), Weight>);

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Digest, (Arc<Manifest>, Instant)> for Weight {
    fn weight(&self, _: &Digest, (manifest, _): &(Arc<Manifest>, Instant)) -> u64 {
        manifest.bytes.len() as u64 + OVERHEAD
    }
}

impl Default for RecentManifests {
    fn default() -> Self {
        Self(Cache::with_weighter(1024, MEMORY, Weight))
    }
}

impl RecentManifests {
    fn get(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        self.0.get(digest).filter(|(_, read)| read.elapsed() < READ_EVERY).map(|(manifest, _)| manifest)
    }

    fn note(&self, manifest: &Arc<Manifest>) {
        self.0.insert(manifest.digest.clone(), (Arc::clone(manifest), Instant::now()));
    }

    /// To be called when a manifest's file is removed.
    pub(super) fn forget(&self, digest: &Digest) {
        self.0.remove(digest);
    }
}

impl Store {
    /// The manifest, if it is here and whole. What is damaged is removed.
    pub(crate) async fn manifest(self: &Arc<Self>, digest: &Digest) -> Option<Arc<Manifest>> {
        if let Some(recent) = self.origins.recent_manifests.get(digest) {
            return Some(recent);
        }
        let (store, wanted) = (Arc::clone(self), digest.clone());
        match blocking(move || store.read_manifest(&wanted)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot read a stored manifest");
                None
            }
        }
    }

    /// Whether one of these is here and whole.
    pub(crate) async fn has_any_manifest(self: &Arc<Self>, digests: &[Digest]) -> bool {
        if digests.iter().any(|digest| self.origins.recent_manifests.get(digest).is_some()) {
            return true;
        }
        for some in digests.chunks(READ_AT_ONCE) {
            let (store, some) = (Arc::clone(self), some.to_vec());
            let read = move || Ok(some.iter().any(|digest| matches!(store.read_manifest(digest), Ok(Some(_)))));
            if blocking(read).await.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    fn read_manifest(&self, digest: &Digest) -> io::Result<Option<Arc<Manifest>>> {
        let path = self.layout.manifest(digest);
        let Some(mut file) = open(&path)? else { return Ok(None) };
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        if let Some(manifest) = decode(digest, text) {
            touch(&file, &file.metadata()?);
            let manifest = Arc::new(manifest);
            self.origins.recent_manifests.note(&manifest);
            if !path.exists() {
                self.origins.recent_manifests.forget(digest); // removed meanwhile, and forgotten before we noted it
            }
            return Ok(Some(manifest));
        }
        self.origins.recent_manifests.forget(digest);
        tracing::warn!(%digest, "a stored manifest is damaged: removed, to be fetched again");
        fs::remove_file(path)?;
        Ok(None)
    }

    /// Keeps a manifest whose digest the caller has checked; `origin` is noted of it.
    pub(crate) async fn put_manifest(
        self: &Arc<Self>,
        manifest: &Arc<Manifest>,
        origin: Option<String>,
    ) -> io::Result<()> {
        let (store, manifest) = (Arc::clone(self), Arc::clone(manifest));
        blocking(move || {
            let scratch = store.scratches.create()?;
            let mut file = scratch.file().as_ref();
            file.write_all(header(&manifest.media_type).as_bytes())?;
            file.write_all(&manifest.bytes)?;
            let size = file.metadata()?.len();
            let (digest, place) = (&manifest.digest, store.layout.manifest(&manifest.digest));
            store.origins.with(digest, origin.as_deref(), || {
                scratch.publish(&place)?;
                store.origins.recent_manifests.note(&manifest);
                Ok(())
            })?;
            store.room.added(size);
            Ok(())
        })
        .await
    }
}

/// `<media type> <check>\n`: the digest covers the bytes only, so the media type has a check of its own.
fn header(media_type: &str) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(media_type.as_bytes());
    let check = hasher.finish().map(|digest| digest.hex()[..16].to_owned()).unwrap_or_default();
    format!("{media_type} {check}\n")
}

fn decode(digest: &Digest, file: Vec<u8>) -> Option<Manifest> {
    let end = file.iter().position(|byte| *byte == b'\n')? + 1;
    let head = std::str::from_utf8(&file[..end]).ok()?;
    let media_type = head.rsplit_once(' ')?.0.to_owned();
    if header(&media_type) != head {
        return None;
    }
    let bytes = Bytes::from(file).slice(end..);
    is_content_of(digest, &bytes).then(|| Manifest { digest: digest.clone(), media_type, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;
    use prometheus_client::metrics::gauge::Gauge;

    fn manifest() -> Arc<Manifest> {
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        Arc::new(Manifest { digest, media_type: "application/vnd.x+json".into(), bytes: Bytes::from_static(b"abc") })
    }

    #[tokio::test]
    async fn bytes_and_media_type_come_back_verbatim() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        assert_eq!(store.manifest(&manifest().digest).await, None);
        store.put_manifest(&manifest(), None).await.unwrap();
        store.origins.recent_manifests.forget(&manifest().digest);
        for from in ["the disk", "memory"] {
            assert_eq!(store.manifest(&manifest().digest).await, Some(manifest()), "{from}");
        }
    }

    #[tokio::test]
    async fn what_was_kept_just_now_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        store.put_manifest(&manifest(), None).await.unwrap();
        let other = Arc::new(Manifest { media_type: "application/vnd.y+json".into(), ..(*manifest()).clone() });
        store.put_manifest(&other, None).await.unwrap();
        assert_eq!(store.origins.recent_manifests.get(&other.digest), Some(other));
    }

    #[tokio::test]
    async fn one_of_many_manifests_is_found_whether_in_memory_or_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        let mut many: Vec<Digest> = (0..600).map(|n| format!("sha256:{n:064x}").parse().unwrap()).collect();
        assert!(!store.has_any_manifest(&many).await);
        many.push(manifest().digest.clone());
        store.put_manifest(&manifest(), None).await.unwrap();
        assert!(store.has_any_manifest(&many).await);
        store.origins.recent_manifests.forget(&manifest().digest);
        assert!(store.has_any_manifest(&many).await);
    }

    #[tokio::test]
    async fn what_is_in_memory_is_forgotten_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        store.put_manifest(&manifest(), None).await.unwrap();
        assert!(store.manifest(&manifest().digest).await.is_some());
        let path = store.layout.manifest(&manifest().digest);
        assert!(store.origins.evict(&path));
        assert_eq!(store.manifest(&manifest().digest).await, None);
    }

    #[tokio::test]
    async fn no_flipped_bit_anywhere_in_the_file_is_ever_served() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        store.put_manifest(&manifest(), None).await.unwrap();
        store.origins.recent_manifests.forget(&manifest().digest);
        let path = store.layout.manifest(&manifest().digest);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert_eq!(store.manifest(&manifest().digest).await, None, "byte {at}");
        }
    }
}
