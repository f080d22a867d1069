//! Paths of the registry API: what a request is about, before it is known whose repository it means.

use crate::{Digest, DigestError, Reference, ReferenceError};

/// A request's path below `/v2/`, split but not yet routed: the name may still begin with a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestPath {
    /// `/v2/` itself: does this server speak the API?
    Base,
    /// Something in a repository.
    In {
        /// Everything between `/v2/` and the verb, unchecked.
        name: String,
        /// What is asked for there.
        target: Target,
    },
}

/// What is asked of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `manifests/<reference>`
    Manifest(Reference),
    /// `blobs/<digest>`
    Blob(Digest),
    /// `tags/list`
    Tags,
    /// `referrers/<digest>`
    Referrers(Digest),
}

/// Why a path means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not one of the API's paths.
    #[error("this path is not part of the registry API")]
    Endpoint,
    /// The last segment should be a digest.
    #[error("the path ends in no digest: {0}")]
    Digest(DigestError),
    /// The last segment should be a tag.
    #[error("the path ends in no tag: {0}")]
    Tag(ReferenceError),
}

impl RequestPath {
    /// Splits a path as it stands in a request line, percent-encoding and all, without its query.
    ///
    /// A repository may be called `blobs` or `tags`: the verb is the last one that fits.
    ///
    /// # Errors
    /// A [`PathError`] that says which part is wrong.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let path = decode(path).ok_or(PathError::Endpoint)?;
        let rest = match path.as_str() {
            "/v2" | "/v2/" => return Ok(Self::Base),
            longer => longer.strip_prefix("/v2/").ok_or(PathError::Endpoint)?,
        };
        let (head, last) = rest.rsplit_once('/').ok_or(PathError::Endpoint)?;
        let (name, verb) = head.rsplit_once('/').ok_or(PathError::Endpoint)?;
        let target = match (verb, last) {
            ("manifests", text) => Target::Manifest(text.parse().map_err(reference)?),
            ("blobs", text) => Target::Blob(text.parse().map_err(PathError::Digest)?),
            ("tags", "list") => Target::Tags,
            ("referrers", text) => Target::Referrers(text.parse().map_err(PathError::Digest)?),
            _ => return Err(PathError::Endpoint),
        };
        Ok(Self::In { name: name.to_owned(), target })
    }
}

fn reference(error: ReferenceError) -> PathError {
    match error {
        ReferenceError::Digest(cause) => PathError::Digest(cause),
        ReferenceError::Tag => PathError::Tag(error),
    }
}

/// Undoes percent-encoding once: some clients write `sha256%3A…`. `None`: malformed, or no UTF-8.
fn decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut plain = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte });
    }
    String::from_utf8(plain).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> String {
        format!("sha256:{}", "ab".repeat(32))
    }

    fn parsed(path: &str) -> (String, Target) {
        match RequestPath::parse(path).unwrap() {
            RequestPath::In { name, target } => (name, target),
            RequestPath::Base => panic!("{path} is the base"),
        }
    }

    #[test]
    fn reads_every_path_of_the_api() {
        let digest = digest();
        assert_eq!(RequestPath::parse("/v2/"), Ok(RequestPath::Base));
        assert_eq!(RequestPath::parse("/v2"), Ok(RequestPath::Base));
        assert_eq!(parsed("/v2/a/b/manifests/1"), ("a/b".into(), Target::Manifest(Reference::Tag("1".into()))));
        assert_eq!(parsed("/v2/a/tags/list"), ("a".into(), Target::Tags));
        for encoded in [digest.clone(), digest.replace(':', "%3A"), digest.replace(':', "%3a")] {
            let expected = digest.parse::<Digest>().unwrap();
            assert_eq!(parsed(&format!("/v2/a/blobs/{encoded}")), ("a".into(), Target::Blob(expected.clone())));
            assert_eq!(parsed(&format!("/v2/a/referrers/{encoded}")), ("a".into(), Target::Referrers(expected)));
        }
    }

    #[test]
    fn a_repository_may_be_called_like_a_verb() {
        let (name, target) = parsed("/v2/blobs/manifests/tags/list");
        assert_eq!((name.as_str(), target), ("blobs/manifests", Target::Tags));
        let (name, target) = parsed("/v2/a/manifests/manifests/manifests");
        assert_eq!((name.as_str(), target), ("a/manifests", Target::Manifest(Reference::Tag("manifests".into()))));
    }

    #[test]
    fn says_which_part_is_wrong() {
        for path in ["/", "/v1/", "/v2/a", "/v2/a/b", "/v2/_catalog", "/v2/a/tags/all", "/v2/a%2/tags/list", "/v2//"] {
            assert_eq!(RequestPath::parse(path), Err(PathError::Endpoint), "{path}");
        }
        assert_eq!(RequestPath::parse("/v2/a/blobs/1"), Err(PathError::Digest(DigestError::Algorithm)));
        assert_eq!(RequestPath::parse("/v2/a/manifests/sha256:1"), Err(PathError::Digest(DigestError::Hex)));
        assert_eq!(RequestPath::parse("/v2/a/manifests/-x"), Err(PathError::Tag(ReferenceError::Tag)));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(path in "/v2/.*") {
            let _ = RequestPath::parse(&path);
        }

        #[test]
        fn a_well_formed_path_reads_back(name in "[a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,3}", tag in "[a-zA-Z0-9_]{1,10}") {
            let (got, target) = parsed(&format!("/v2/{name}/manifests/{tag}"));
            prop_assert_eq!(got, name);
            prop_assert_eq!(target, Target::Manifest(Reference::Tag(tag.into())));
        }
    }
}
