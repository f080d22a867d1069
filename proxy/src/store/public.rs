//! Repositories that everybody may read upstream, and when that was last seen.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tidepool_oci::{RegistryName, RepositoryName};
use url::Url;

use super::{Store, blocking};

/// That a repository was read without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicRecord {
    /// Where the registry was reached then: another one may keep the same name for itself.
    pub(crate) at: Url,
    /// Seconds since 1970.
    pub(crate) seen: u64,
}

/// How many repositories are remembered in memory.
const MOST_RECENT: usize = 8192;

/// The records that were read or written lately, by their files. Here, for a purge takes them from memory, too.
#[derive(Debug)]
pub(super) struct RecentPublic(Cache<PathBuf, PublicRecord>);

impl Default for RecentPublic {
    fn default() -> Self {
        Self(Cache::new(MOST_RECENT))
    }
}

impl RecentPublic {
    /// Remembers what was read, unless it is removed meanwhile, and forgotten before we noted it.
    fn note_read(&self, path: &Path, record: PublicRecord) {
        self.0.insert(path.to_owned(), record);
        if !path.exists() {
            self.forget(path);
        }
    }

    /// To be called when a record's file was removed.
    pub(super) fn forget(&self, path: &Path) {
        self.0.remove(path);
    }
}

impl Store {
    /// When the repository was last seen to be public; a file that cannot be read counts as none.
    pub(crate) async fn public(
        self: &Arc<Self>,
        registry: &RegistryName,
        repository: &RepositoryName,
    ) -> Option<PublicRecord> {
        let path = self.layout.public(registry, repository);
        if let Some(recent) = self.recent_public.0.get(&path) {
            return Some(recent);
        }
        let store = Arc::clone(self);
        let read = move || {
            let record: Option<PublicRecord> = serde_json::from_slice(&fs::read(&path)?).ok();
            record.iter().for_each(|record| store.recent_public.note_read(&path, record.clone()));
            Ok(record)
        };
        match blocking(read).await {
            Ok(record) => record,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%registry, %repository, %error, "cannot read what is known of a repository");
                }
                None
            }
        }
    }

    /// Forgets that the repository was public.
    pub(crate) async fn forget_public(
        self: &Arc<Self>,
        registry: &RegistryName,
        repository: &RepositoryName,
    ) -> io::Result<()> {
        let (store, path) = (Arc::clone(self), self.layout.public(registry, repository));
        blocking(move || {
            let removed = fs::remove_file(&path);
            store.recent_public.forget(&path);
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        })
        .await
    }

    /// Remembers that the repository is public; where that cannot be written, for as long as this process runs.
    pub(crate) async fn put_public(
        self: &Arc<Self>,
        registry: &RegistryName,
        repository: &RepositoryName,
        record: PublicRecord,
    ) -> io::Result<()> {
        let (store, path) = (Arc::clone(self), self.layout.public(registry, repository));
        self.recent_public.0.insert(path.clone(), record.clone());
        blocking(move || {
            let scratch = store.scratches.create()?;
            serde_json::to_writer(scratch.file().as_ref(), &record)?;
            scratch.publish(&path)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Purge, *};
    use crate::store::tests::store;

    #[tokio::test]
    async fn p14_that_a_repository_is_public_is_forgotten_with_a_purge_in_memory_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let (registry, repository): (_, RepositoryName) = (RegistryName::docker_hub(), "a/b".parse().unwrap());
        let record = PublicRecord { at: "https://h/".parse().unwrap(), seen: 1 };
        for forget in ["purge", "refusal", "other hands while it is read"] {
            store.put_public(&registry, &repository, record.clone()).await.unwrap();
            assert_eq!(store.public(&registry, &repository).await.as_ref(), Some(&record));
            let path = store.layout.public(&registry, &repository);
            match forget {
                "purge" => {
                    let purge = Purge::Repository { registry: registry.clone(), repository: repository.clone() };
                    assert_eq!(store.purge(purge).await.unwrap().tags, 0);
                }
                "refusal" => store.forget_public(&registry, &repository).await.unwrap(),
                _ => {
                    fs::remove_file(&path).unwrap();
                    store.recent_public.note_read(&path, record.clone());
                }
            }
            assert!(!path.exists());
            assert_eq!(store.public(&registry, &repository).await, None, "{forget}");
        }
    }
}
