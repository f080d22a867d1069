//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`.

use std::{fmt, str::FromStr};

/// A hash algorithm that the OCI image specification registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every registry and client must support.
    Sha256,
    /// SHA-512, which they may support.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest in canonical form: a registered algorithm and lower-case hex of its exact length.
///
/// Safe as a file name: it holds no `/` and no `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:` in front, or one that is not registered.
    #[error("a digest starts with sha256: or sha512:")]
    Algorithm,
    /// Not lower-case hex of the algorithm's length.
    #[error("a digest ends in lower-case hex: 64 characters for sha256, 128 for sha512")]
    Hex,
}

impl Digest {
    /// The digest of an algorithm's raw output.
    ///
    /// # Errors
    /// [`DigestError::Hex`] when `raw` has not the algorithm's length.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Result<Self, DigestError> {
        use fmt::Write as _;
        let mut hex = String::with_capacity(raw.len() * 2);
        for byte in raw {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        if hex.len() != algorithm.hex_length() {
            return Err(DigestError::Hex);
        }
        Ok(Self { algorithm, hex: hex.into() })
    }

    /// The hash algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex part, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Algorithm)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm),
        };
        let is_hex = hex.len() == algorithm.hex_length() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex { Ok(Self { algorithm, hex: hex.into() }) } else { Err(DigestError::Hex) }
    }
}

crate::serde_as_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_digest_reads_back_as_it_was_written() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    }

    #[test]
    fn refuses_other_algorithms_lengths_and_cases() {
        assert_eq!("md5:00".parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!("sha256".parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!("sha256:00".parse::<Digest>(), Err(DigestError::Hex));
        assert_eq!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>(), Err(DigestError::Hex));
        assert_eq!(format!("sha256:{}", "../".repeat(22)).parse::<Digest>(), Err(DigestError::Hex));
    }

    proptest! {
        #[test]
        fn any_hash_output_makes_a_digest(raw in prop::array::uniform32(any::<u8>())) {
            let digest = Digest::from_raw(Algorithm::Sha256, &raw).unwrap();
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<Digest>();
        }
    }
}
