//! Tags: what each pointed to when the upstream was last asked.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tidepool_oci::{Digest, RegistryName, RepositoryName};

use super::{Store, blocking, files};
use crate::tasks::lock;

/// What a tag pointed to, and when that was last heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagRecord {
    /// The manifest's digest.
    pub(crate) digest: Digest,
    /// Seconds since 1970 when the upstream last said so.
    pub(crate) checked: u64,
    /// Whether credentials were needed for it, as far as was known.
    #[serde(default)]
    pub(crate) closed: bool,
}

/// How many tags are remembered in memory.
const MOST_RECENT: usize = 8192;

/// The records that were read or written lately, by their files.
#[derive(Debug)]
pub(super) struct RecentTags {
    records: Cache<PathBuf, TagRecord>,
    /// Held from a file's writing until it is remembered: what is written last is remembered last.
    writing: Mutex<()>,
}

impl Default for RecentTags {
    fn default() -> Self {
        Self { records: Cache::new(MOST_RECENT), writing: Mutex::default() }
    }
}

impl RecentTags {
    /// Remembers a record that was read, unless a newer one was written meanwhile. Its time tells nothing of that: clocks
    /// go back.
    fn note_read(&self, path: &Path, record: &TagRecord) {
        let _ = self.records.get_or_insert_with(path, || Ok::<_, Infallible>(record.clone()));
        self.forget_removed(path);
    }

    /// Puts a record's file in its place and remembers it.
    fn write(&self, path: &Path, record: TagRecord, publish: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _alone = lock(&self.writing);
        publish()?;
        self.records.insert(path.to_owned(), record);
        self.forget_removed(path);
        Ok(())
    }

    /// What was removed meanwhile was perhaps forgotten before we noted it.
    fn forget_removed(&self, path: &Path) {
        if !path.exists() {
            self.forget(path);
        }
    }

    /// To be called when a record's file is removed.
    pub(super) fn forget(&self, path: &Path) {
        self.records.remove(path);
    }
}

impl Store {
    /// What the tag pointed to; a file that cannot be read counts as none.
    pub(crate) async fn tag(
        self: &Arc<Self>,
        registry: &RegistryName,
        repository: &RepositoryName,
        tag: &str,
    ) -> Option<TagRecord> {
        let path = self.layout.tag(registry, repository, tag);
        if let Some(recent) = self.recent_tags.records.get(&path) {
            return Some(recent);
        }
        let store = Arc::clone(self);
        let read = move || {
            let text = fs::read(&path)?;
            let record: Option<TagRecord> = serde_json::from_slice(&text).ok();
            record.iter().for_each(|record| store.recent_tags.note_read(&path, record));
            Ok(record)
        };
        match blocking(read).await {
            Ok(record) => record,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%registry, %repository, tag, %error, "cannot read a stored tag");
                }
                None
            }
        }
    }

    /// Remembers what a tag points to.
    pub(crate) async fn put_tag(
        self: &Arc<Self>,
        registry: &RegistryName,
        repository: &RepositoryName,
        tag: &str,
        record: TagRecord,
    ) -> io::Result<()> {
        let (store, path) = (Arc::clone(self), self.layout.tag(registry, repository, tag));
        blocking(move || {
            let scratch = store.scratches.create()?;
            serde_json::to_writer(scratch.file().as_ref(), &record)?;
            store.recent_tags.write(&path, record, || scratch.publish(&path))
        })
        .await
    }

    /// Forgets what a tag points to; the manifest stays.
    pub(crate) async fn forget_tag(
        self: &Arc<Self>,
        registry: &RegistryName,
        repository: &RepositoryName,
        tag: &str,
    ) -> io::Result<()> {
        let (store, path) = (Arc::clone(self), self.layout.tag(registry, repository, tag));
        blocking(move || {
            let _alone = lock(&store.recent_tags.writing);
            files::remove(&path);
            store.recent_tags.forget(&path);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Purge, *};
    use crate::tasks::Tasks;
    use prometheus_client::metrics::gauge::Gauge;

    #[tokio::test]
    async fn tags_are_kept_apart_by_registry_and_repository() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let record = TagRecord { digest, checked: 1, closed: false };
        let registry = "reg.example.com:5000".parse().unwrap();
        let (outer, inner) = ("a".parse().unwrap(), "a/b".parse().unwrap());
        store.put_tag(&registry, &outer, "b", record.clone()).await.unwrap();
        assert_eq!(store.tag(&registry, &outer, "b").await, Some(record));
        assert_eq!(store.tag(&registry, &inner, "b").await, None);
        assert_eq!(store.tag(&RegistryName::docker_hub(), &outer, "b").await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_remembers_nothing_older_than_what_was_written_though_the_clock_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        let record = |digit: &str, checked| TagRecord {
            digest: format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
            checked,
            closed: false,
        };
        let (registry, repository): (_, RepositoryName) = (RegistryName::docker_hub(), "a".parse().unwrap());
        store.put_tag(&registry, &repository, "1", record("1", 9)).await.unwrap();
        store.put_tag(&registry, &repository, "1", record("2", 5)).await.unwrap();
        store.recent_tags.note_read(&store.layout.tag(&registry, &repository, "1"), &record("1", 9));
        assert_eq!(store.tag(&registry, &repository, "1").await, Some(record("2", 5)));
        store.forget_tag(&registry, &repository, "1").await.unwrap();
        assert_eq!(store.tag(&registry, &repository, "1").await, None);
    }

    #[tokio::test]
    async fn a_purged_tag_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let (registry, repository): (_, RepositoryName) = (RegistryName::docker_hub(), "a/b".parse().unwrap());
        store.put_tag(&registry, &repository, "1", TagRecord { digest, checked: 1, closed: false }).await.unwrap();
        assert!(store.tag(&registry, &repository, "1").await.is_some());
        let purge = Purge::Tag { registry: registry.clone(), repository: repository.clone(), tag: "1".into() };
        assert_eq!(store.purge(purge).await.unwrap().tags, 1);
        assert_eq!(store.tag(&registry, &repository, "1").await, None);
    }
}
