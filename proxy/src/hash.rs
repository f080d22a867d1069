//! Hashing content while it streams by.

use sha2::{Digest as _, Sha256, Sha512};
use tidepool_oci::{Algorithm, Digest, DigestError};

/// A running hash of either registered algorithm.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::new(Sha512::new())),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Result<Digest, DigestError> {
        match self {
            Self::Sha256(hash) => Digest::from_raw(Algorithm::Sha256, &hash.finalize()),
            Self::Sha512(hash) => Digest::from_raw(Algorithm::Sha512, &hash.finalize()),
        }
    }

    /// Whether what was hashed is the content that `digest` names.
    pub(crate) fn matches(self, digest: &Digest) -> bool {
        self.finish().is_ok_and(|found| found == *digest)
    }
}

/// Whether `bytes` are the content that `digest` names.
pub(crate) fn is_content_of(digest: &Digest, bytes: &[u8]) -> bool {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    hasher.matches(digest)
}

/// The digest of `bytes`.
#[cfg(test)]
pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_name_their_content() {
        let sha256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().unwrap();
        assert!(is_content_of(&sha256, b"") && !is_content_of(&sha256, b"a"));
        let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f".parse().unwrap();
        assert!(is_content_of(&sha512, b"abc"));
    }
}
