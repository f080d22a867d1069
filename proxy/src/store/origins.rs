//! Which repositories content came from that needed credentials: elsewhere it is not known to be.
//!
//! Content is kept once, by its digest, whoever it came from. Without this, who knows the digest of a closed image could
//! have it as a part of any repository that is open. What is noted goes with the content, and not before: both under one
//! lock, so that no content is ever there without it.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tidepool_oci::{Digest, RegistryName, RepositoryName};

use super::{
    Store, blocking,
    files::{self, ScratchNames},
    layout::Layout,
    manifests::RecentManifests,
};
use crate::tasks::lock;

/// What is noted of the content of one store.
#[derive(Debug)]
pub(super) struct Origins {
    layout: Layout,
    scratches: ScratchNames,
    /// Whether there is any: most stores have none, and need not look.
    any: AtomicBool,
    writing: Mutex<()>,
    /// Here, for what is removed goes from memory too.
    pub(super) recent_manifests: RecentManifests,
}

impl Origins {
    pub(super) fn new(layout: Layout, scratches: ScratchNames) -> Self {
        let any = AtomicBool::new(may_exist(&layout.all_origins()));
        Self { layout, scratches, any, writing: Mutex::default(), recent_manifests: RecentManifests::default() }
    }

    /// What is noted, a line each. A file that a power loss tore says less than it did, never that nothing is noted.
    fn read(&self, digest: &Digest) -> Option<String> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        match fs::read(self.layout.origins(digest)) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot read where stored content came from");
                Some(String::new())
            }
        }
    }

    fn add(&self, digest: &Digest, line: &str) -> io::Result<()> {
        self.any.store(true, Ordering::Relaxed);
        let before = self.read(digest).unwrap_or_default();
        if before.lines().any(|known| known == line) {
            return Ok(());
        }
        let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        let scratch = self.scratches.create()?;
        scratch.file().as_ref().write_all(format!("{before}{end}{line}\n").as_bytes())?;
        scratch.publish(&self.layout.origins(digest))
    }

    /// Notes `line`, where there is one, and puts the content in its place, with nothing removed in between.
    pub(super) fn with<T>(
        &self,
        digest: &Digest,
        line: Option<&str>,
        publish: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let _alone = lock(&self.writing);
        if let Some(line) = line {
            self.add(digest, line)?;
        }
        publish()
    }

    /// Removes the damaged blob at `path` if that is still the one; says whether it is gone. What is noted of it stays: it
    /// is to be filled again.
    pub(super) fn remove_damaged(&self, path: &Path, is_it: impl FnOnce(&Path) -> bool) -> bool {
        let _alone = lock(&self.writing);
        is_it(path) && self.remove(path)
    }

    /// Notes of all content that it is not known in a repository any more; gives that which is known in none now. The note
    /// itself stays: with no line it says that nobody is known to be let in.
    pub(super) fn leave(&self, registry: &RegistryName, repository: &RepositoryName) -> io::Result<HashSet<Digest>> {
        let (begin, mut alone) = (format!("{registry} {repository} "), HashSet::new());
        if !self.any.load(Ordering::Relaxed) {
            return Ok(alone);
        }
        for path in below(&self.layout.all_origins()) {
            let Some(digest) = Layout::digest_of(&path) else { continue };
            let _alone = lock(&self.writing);
            let before = self.read(&digest).unwrap_or_default();
            let (gone, left): (Vec<_>, Vec<_>) = before.lines().partition(|line| line.starts_with(&begin));
            if gone.is_empty() {
                continue;
            }
            let scratch = self.scratches.create()?;
            left.iter().try_for_each(|line| writeln!(scratch.file().as_ref(), "{line}"))?;
            scratch.publish(&path)?;
            if left.is_empty() {
                alone.insert(digest);
            }
        }
        Ok(alone)
    }

    /// Removes the checksums of a blob that is not here. Under the lock, for those of one that comes are here before it.
    pub(super) fn remove_orphan(&self, sums: &Path) {
        let blob = sums.with_extension("");
        if may_exist(&blob) {
            return;
        }
        let _alone = lock(&self.writing);
        if !may_exist(&blob) {
            files::remove(sums);
        }
    }

    /// The content first: checksums alone are of no harm.
    fn remove(&self, path: &Path) -> bool {
        let gone = files::remove(path);
        if let Some(digest) = Layout::digest_of(path) {
            self.recent_manifests.forget(&digest);
        }
        gone && (!path.starts_with(self.layout.blobs()) || files::remove(&Layout::sums_of(path)))
    }

    /// Removes the content at `path`, and what is noted of it unless the digest has content elsewhere; says whether the
    /// content is gone.
    pub(super) fn evict(&self, path: &Path) -> bool {
        let _alone = lock(&self.writing);
        let gone = self.remove(path);
        if gone
            && self.any.load(Ordering::Relaxed)
            && let Some(digest) = Layout::digest_of(path)
            && ![self.layout.blob(&digest), self.layout.manifest(&digest)].iter().any(|path| may_exist(path))
        {
            files::remove(&self.layout.origins(&digest));
        }
        gone
    }
}

/// All files in the folders in the folders of a folder.
fn below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let paths = |folder: PathBuf| files::entries(&folder).into_iter().map(|entry| entry.path());
    paths(folder.to_owned()).flat_map(paths).flat_map(paths)
}

/// Where the disk cannot say, it is taken to be there.
fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

impl Store {
    /// The repositories that content is known to be in, one a line; none where it needed no credentials.
    pub(crate) async fn origins(self: &Arc<Self>, digest: &Digest) -> Option<String> {
        let (origins, wanted) = (Arc::clone(&self.origins), digest.clone());
        if !origins.any.load(Ordering::Relaxed) {
            return None;
        }
        let read = blocking(move || Ok(origins.read(&wanted))).await;
        read.unwrap_or_else(|_| Some(String::new())) // the process is stopping
    }

    /// Notes that content which needs credentials somewhere is in a repository, a line.
    pub(crate) async fn add_origin(&self, digest: &Digest, line: String) -> io::Result<()> {
        let (origins, digest) = (Arc::clone(&self.origins), digest.clone());
        blocking(move || origins.with(&digest, Some(&line), || Ok(()))).await
    }
}

#[cfg(test)]
mod tests {
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
}
