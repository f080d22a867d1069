//! Purge: an administrator takes content out of the store, so that the next pull asks the upstream for it.
//!
//! A store knows content by its digest and not who it belongs to; only tags lead to it. So with a tag, or with all tags of
//! a repository, goes what their manifests name and no other tag's do. What was pulled by digest alone, and no tag leads
//! to, goes by its digest, or in time by eviction; and what needed credentials goes with the last repository that it was
//! seen in.
//!
//! The store is read from end to end for it, which is an administrator's to wait for: pulls go on. One that races sees
//! either what was there, or nothing and asks the upstream; and what it brings stays. One that is on its way goes, too,
//! unless somebody fills it: that is not stopped.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use tidepool_oci::{Digest, Reference, RegistryName, RepositoryName};

use super::{Store, TagRecord, blocking, files, named::names_in, unfinished::Unfinished};

/// What to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purge {
    /// All tags of a repository and what only they lead to, and what is known of the repository itself.
    Repository { registry: RegistryName, repository: RepositoryName },
    /// A tag and what only it leads to.
    Tag { registry: RegistryName, repository: RepositoryName, tag: Box<str> },
    /// One blob or manifest, whatever leads to it.
    Digest(Digest),
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Purged {
    pub(crate) tags: u64,
    pub(crate) manifests: u64,
    pub(crate) blobs: u64,
    /// Of manifests and blobs, those on their way among them.
    pub(crate) bytes: u64,
}

impl Store {
    /// Takes content out of the store, and says what went: nothing where there was nothing.
    pub(crate) async fn purge(self: &Arc<Self>, what: Purge) -> io::Result<Purged> {
        let store = Arc::clone(self);
        blocking(move || {
            let purged = store.purge_now(&what)?;
            tracing::info!(?what, ?purged, "purged");
            Ok(purged)
        })
        .await
    }

    fn purge_now(&self, what: &Purge) -> io::Result<Purged> {
        let mut purged = Purged::default();
        let going = match what {
            Purge::Digest(digest) => HashSet::from([digest.clone()]),
            // Anything else could be a path out of the folder.
            Purge::Tag { tag, .. } if !matches!(tag.parse(), Ok(Reference::Tag(_))) => HashSet::new(),
            Purge::Tag { registry, repository, tag } => {
                self.purge_tags(&[self.layout.tag(registry, repository, tag)], HashSet::new(), &mut purged)
            }
            Purge::Repository { registry, repository } => {
                let tags = files::entries(&self.layout.tags(registry, repository));
                let tags: Vec<_> = tags.into_iter().map(|entry| entry.path()).collect();
                let public = self.layout.public(registry, repository);
                files::remove(&public);
                self.recent_public.forget(&public);
                let closed = self.origins.leave(registry, repository)?;
                self.purge_tags(&tags, closed, &mut purged)
            }
        };
        going.iter().for_each(|digest| self.purge_digest(digest, &mut purged));
        self.room.removed(purged.bytes);
        Ok(purged)
    }

    /// Removes tags; gives what they led to, and `more`, without what other tags lead to.
    fn purge_tags(&self, tags: &[PathBuf], more: HashSet<Digest>, purged: &mut Purged) -> HashSet<Digest> {
        let mut going = more;
        let named: Vec<_> = tags.iter().filter_map(|tag| read_tag(tag)).collect();
        self.follow(named, &mut HashSet::new(), &mut |digest| {
            going.insert(digest.clone());
        });
        for tag in tags {
            purged.tags += u64::from(tag.exists() && files::remove(tag));
            self.recent_tags.forget(tag);
        }
        let mut seen = HashSet::new();
        each_file(&self.layout.all_tags(), &mut |path| {
            if let Some(digest) = read_tag(path).filter(|_| !going.is_empty()) {
                self.follow(vec![digest], &mut seen, &mut |kept| {
                    going.remove(kept);
                });
            }
        });
        going
    }

    /// Visits manifests and all that they name, those in `seen` not again.
    fn follow(&self, manifests: Vec<Digest>, seen: &mut HashSet<Digest>, visit: &mut dyn FnMut(&Digest)) {
        let mut open = manifests;
        while let Some(digest) = open.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            visit(&digest);
            // What is not here, or is torn, names nothing; a blob is not read.
            let named = fs::read(self.layout.manifest(&digest)).map(|text| names_in(&text)).unwrap_or_default();
            open.extend(named);
        }
    }

    fn purge_digest(&self, digest: &Digest, purged: &mut Purged) {
        let counts =
            [(self.layout.blob(digest), &mut purged.blobs), (self.layout.manifest(digest), &mut purged.manifests)];
        for (path, count) in counts {
            let Ok(meta) = path.symlink_metadata() else { continue };
            if self.origins.evict(&path) {
                *count += 1;
                purged.bytes += meta.len();
            }
        }
        self.opened.forget(digest);
        let on_its_way =
            Unfinished::of(&self.layout, digest).map_or(0, |one| one.remove(&self.layout, &self.room.claims));
        purged.blobs += u64::from(on_its_way > 0);
        purged.bytes += on_its_way;
        self.origins.forget(std::slice::from_ref(digest)); // of what was on its way, and of what went before
    }
}

fn read_tag(path: &Path) -> Option<Digest> {
    let record: TagRecord = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(record.digest)
}

/// Visits the tags below a folder.
fn each_file(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let is_tags = folder.file_name().is_some_and(|name| name == "_tags");
        for entry in files::entries(&folder) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != "_origins" => open.push(entry.path()),
                Ok(kind) if kind.is_file() && is_tags => visit(&entry.path()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
