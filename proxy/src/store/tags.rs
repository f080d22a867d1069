//! Tags: what each pointed to when the upstream was last asked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tidepool_oci::{Digest, RegistryName, RepositoryName};

use super::{Store, blocking};

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
pub(super) struct RecentTags(Cache<PathBuf, TagRecord>);

impl Default for RecentTags {
    fn default() -> Self {
        Self(Cache::new(MOST_RECENT))
    }
}

impl RecentTags {
    /// Remembers the record in `path`, unless it is removed meanwhile, and forgotten before we noted it.
    fn note(&self, path: &Path, record: TagRecord) {
        self.0.insert(path.to_owned(), record);
        if !path.exists() {
            self.forget(path);
        }
    }

    /// To be called when a record's file is removed.
    pub(super) fn forget(&self, path: &Path) {
        self.0.remove(path);
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
        if let Some(recent) = self.recent_tags.0.get(&path) {
            return Some(recent);
        }
        let store = Arc::clone(self);
        let read = move || {
            let text = fs::read(&path)?;
            let record: Option<TagRecord> = serde_json::from_slice(&text).ok();
            record.iter().for_each(|record| store.recent_tags.note(&path, record.clone()));
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
            scratch.publish(&path)?;
            store.recent_tags.note(&path, record);
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
