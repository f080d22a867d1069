//! What an upstream was asked.

use std::collections::HashMap;

/// Requests and bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// `HEAD`s of manifests.
    pub(crate) manifest_heads: u64,
    /// `GET`s of manifests.
    pub(crate) manifest_gets: u64,
    /// `GET`s of blobs.
    pub(crate) blob_gets: u64,
    /// Bytes sent of each blob.
    bytes: HashMap<String, u64>,
}

impl Counts {
    pub(crate) fn add_bytes(&mut self, digest: &str, bytes: u64) {
        match self.bytes.get_mut(digest) {
            Some(sum) => *sum += bytes,
            None => drop(self.bytes.insert(digest.to_owned(), bytes)),
        }
    }

    /// Bytes sent of a blob.
    pub(crate) fn bytes_of(&self, digest: &str) -> u64 {
        self.bytes.get(digest).copied().unwrap_or(0)
    }
}
