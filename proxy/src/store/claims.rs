//! Blobs on their way that somebody works on: one fill at a time has one, or the one who removes it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use tidepool_oci::Digest;

use crate::tasks::lock;

/// What is claimed in one store.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<Digest>>>);

/// That a blob on its way is somebody's, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    digest: Digest,
}

impl Claims {
    /// None while somebody else has it.
    pub(super) fn take(&self, digest: &Digest) -> Option<Claim> {
        let free = lock(&self.0).insert(digest.clone());
        free.then(|| Claim { claims: self.clone(), digest: digest.clone() })
    }
}

impl Claim {
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claims.0).remove(&self.digest);
    }
}
