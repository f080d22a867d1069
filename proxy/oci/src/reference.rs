//! Names of repositories, and what they hold: tags and digests.

use std::{fmt, str::FromStr};

use crate::{Digest, RegistryName};

/// A repository's name within its registry: lower-case path components, at most 255 characters.
///
/// Grammar of the distribution specification, "Pulling manifests". Safe as a relative path: no component is empty,
/// `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);

/// Why a text is no repository name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryNameError {
    /// Longer than 255 characters.
    #[error("a repository name has at most 255 characters")]
    TooLong,
    /// Not the specification's grammar.
    #[error("a repository name is lower-case letters and digits, joined by . _ __ or - and separated by /")]
    Syntax,
}

impl RepositoryName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name that `registry` knows this repository by: Docker Hub puts one-word names under `library/`.
    #[must_use]
    pub fn qualified_for(self, registry: &RegistryName) -> Self {
        if registry.is_docker_hub() && !self.0.contains('/') {
            Self(format!("library/{}", self.0).into())
        } else {
            self
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = RepositoryNameError;

    fn from_str(text: &str) -> Result<Self, RepositoryNameError> {
        if text.len() > 255 {
            return Err(RepositoryNameError::TooLong);
        }
        if text.split('/').all(is_component) { Ok(Self(text.into())) } else { Err(RepositoryNameError::Syntax) }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let mut separator = String::new();
    let mut ends_in_word = false;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => {
                separator.clear();
                ends_in_word = true;
            }
            b'.' | b'_' | b'-' if ends_in_word || !separator.is_empty() => {
                separator.push(byte.into());
                ends_in_word = false;
                let known = matches!(separator.as_str(), "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
                if !known {
                    return false;
                }
            }
            _ => return false,
        }
    }
    ends_in_word
}

/// What a manifest is asked by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// A name that may move.
    Tag(Box<str>),
    /// The content itself.
    Digest(Digest),
}

/// Why a text is neither tag nor digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It holds a `:`, so it would be a digest, and is none.
    #[error("not a digest: {0}")]
    Digest(crate::DigestError),
    /// Not `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    #[error("a tag is at most 128 letters, digits, and . _ -, and starts with neither . nor -")]
    Tag,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(ReferenceError::Digest);
        }
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts = text.bytes().next().is_some_and(word);
        let goes_on = text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if starts && goes_on && text.len() <= 128 { Ok(Self::Tag(text.into())) } else { Err(ReferenceError::Tag) }
    }
}

crate::serde_as_text!(RepositoryName);
crate::serde_as_text!(Reference);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_the_specifications_names() {
        for text in ["a", "library/alpine", "a.b/c_d/e__f/g--h", "0/1", &"a".repeat(255)] {
            assert!(text.parse::<RepositoryName>().is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_paths_that_climb_and_other_names() {
        for text in
            ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".", "A", "a..b", "a___b", "a._b", "-a", "a-", "a b", "a\0"]
        {
            assert_eq!(text.parse::<RepositoryName>(), Err(RepositoryNameError::Syntax), "{text:?}");
        }
        assert_eq!("a".repeat(256).parse::<RepositoryName>(), Err(RepositoryNameError::TooLong));
    }

    #[test]
    fn only_docker_hub_has_a_library() {
        let name = || "alpine".parse::<RepositoryName>().unwrap();
        assert_eq!(name().qualified_for(&RegistryName::docker_hub()).as_str(), "library/alpine");
        assert_eq!(name().qualified_for(&"ghcr.io".parse().unwrap()).as_str(), "alpine");
    }

    #[test]
    fn tells_tags_from_digests() {
        assert_eq!("1.27-alpine".parse::<Reference>(), Ok(Reference::Tag("1.27-alpine".into())));
        assert!(matches!(format!("sha256:{}", "0".repeat(64)).parse(), Ok(Reference::Digest(_))));
        assert!(matches!("sha256:zz".parse::<Reference>(), Err(ReferenceError::Digest(_))));
        for text in ["", ".a", "-a", "a/b", "a b", &"a".repeat(129)] {
            assert_eq!(text.parse::<Reference>(), Err(ReferenceError::Tag), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_repository_name_is_always_a_safe_relative_path(text in "[a-z0-9._/-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }
}
