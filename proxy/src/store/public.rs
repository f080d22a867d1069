//! Repositories that everybody may read upstream, and when that was last seen.

use std::{fs, io};

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

impl Store {
    /// When the repository was last seen to be public; a file that cannot be read counts as none.
    pub(crate) async fn public(&self, registry: &RegistryName, repository: &RepositoryName) -> Option<PublicRecord> {
        let path = self.layout.public(registry, repository);
        match blocking(move || fs::read(path)).await {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%registry, %repository, %error, "cannot read what is known of a repository");
                }
                None
            }
        }
    }

    /// Forgets that the repository was public.
    pub(crate) async fn forget_public(&self, registry: &RegistryName, repository: &RepositoryName) -> io::Result<()> {
        let path = self.layout.public(registry, repository);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Remembers that the repository is public.
    pub(crate) async fn put_public(
        &self,
        registry: &RegistryName,
        repository: &RepositoryName,
        record: PublicRecord,
    ) -> io::Result<()> {
        let (scratches, path) = (self.scratches.clone(), self.layout.public(registry, repository));
        blocking(move || {
            let scratch = scratches.create()?;
            serde_json::to_writer(scratch.file().as_ref(), &record)?;
            scratch.publish(&path)
        })
        .await
    }
}
