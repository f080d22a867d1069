//! Which repositories content came from that needed credentials: elsewhere it is not known to be.
//!
//! Content is kept once, by its digest, whoever it came from. Without this, who knows the digest of a closed image could
//! have it as a part of any repository that is open. What is noted goes with the content, and not before: both under one
//! lock, so that no content is ever there without it. Nor after a power loss: what is noted is synced, with all folders
//! above it, before closed content takes its place, and the content's removal before what is noted of it goes.

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

use quick_cache::sync::Cache;
use tidepool_oci::{Digest, RegistryName, RepositoryName};

use super::{
    Store, blocking,
    files::{self, ScratchNames},
    layout::Layout,
    manifests::RecentManifests,
};
use crate::tasks::lock;

/// How much content is remembered to be synced.
const MOST_SYNCED: usize = 4096;

/// What is noted of the content of one store.
#[derive(Debug)]
pub(super) struct Origins {
    layout: Layout,
    scratches: ScratchNames,
    /// Whether there is any: most stores have none, and need not look.
    any: AtomicBool,
    writing: Mutex<()>,
    /// Of which content something is noted that a power loss leaves: whoever is not among them is synced once more.
    synced: Cache<Digest, ()>,
    /// Here, for what is removed goes from memory too.
    pub(super) recent_manifests: RecentManifests,
}

impl Origins {
    pub(super) fn new(layout: Layout, scratches: ScratchNames) -> Self {
        let any = AtomicBool::new(may_exist(&layout.all_origins()));
        let (synced, recent_manifests) = (Cache::new(MOST_SYNCED), RecentManifests::default());
        Self { layout, scratches, any, writing: Mutex::default(), synced, recent_manifests }
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
        self.synced.remove(digest);
        let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        let scratch = self.scratches.create()?;
        scratch.file().as_ref().write_all(format!("{before}{end}{line}\n").as_bytes())?;
        scratch.publish(&self.layout.origins(digest))
    }

    /// Notes `line`. Before the content comes to stay, or of content that something is noted of already.
    fn note(&self, digest: &Digest, line: &str) -> io::Result<()> {
        let _alone = lock(&self.writing);
        self.add(digest, line)
    }

    /// Notes `line`, where there is one, and puts the content in its place, with nothing removed in between, and once a
    /// power loss cannot take what is noted and leave the content.
    pub(super) fn with<T>(
        &self,
        digest: &Digest,
        line: Option<&str>,
        publish: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let alone = lock(&self.writing);
            if let Some(line) = line {
                self.add(digest, line)?;
            }
            if line.is_none() || self.synced.get(digest).is_some() {
                return publish();
            }
            drop(alone); // a slow disk holds up nobody else
            self.sync(digest)?;
        }
    }

    /// An entry that is new may be in any of the folders above.
    fn sync(&self, digest: &Digest) -> io::Result<()> {
        let path = self.layout.origins(digest);
        match files::sync(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // it went, and is noted anew
            synced => synced?,
        }
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(self.layout.all_tags()));
        folders.chain(self.layout.all_tags().parent()).try_for_each(files::sync)?;
        self.synced.insert(digest.clone(), ());
        Ok(())
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
        let gone = self.take_out(path);
        if gone && let Some(digest) = Layout::digest_of(path) {
            self.forget(&[digest]);
        }
        gone
    }

    /// Removes the content at `path`: what is noted of it is left to `forget`.
    pub(super) fn take_out(&self, path: &Path) -> bool {
        let _alone = lock(&self.writing);
        self.remove(path)
    }

    /// Whether something is noted of this content.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.any.load(Ordering::Relaxed) && may_exist(&self.layout.origins(digest))
    }

    /// Removes what is noted of content that went, of folders of one name: once a power loss cannot bring it back.
    pub(super) fn forget(&self, digests: &[Digest]) {
        let noted: Vec<_> = digests.iter().filter(|digest| self.has(digest)).collect();
        let Some(one) = noted.first() else { return };
        let places = [self.layout.blob(one), self.layout.manifest(one)];
        let synced =
            places.iter().filter_map(|place| place.parent()).try_for_each(|folder| match files::sync(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                synced => synced,
            });
        if let Err(error) = synced {
            tracing::warn!(%error, "cannot sync a folder of the store: what is known of content that went stays");
            return;
        }
        for digest in noted {
            let _alone = lock(&self.writing);
            // Came again, or is on its way: who fills it has noted where it is from.
            let there = [self.layout.blob(digest), self.layout.manifest(digest), self.layout.fill(digest)];
            if !there.iter().any(|path| may_exist(path)) {
                files::remove(&self.layout.origins(digest));
                self.synced.remove(digest);
            }
        }
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
        blocking(move || origins.note(&digest, &line)).await
    }
}

#[cfg(test)]
mod tests;
