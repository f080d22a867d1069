//! Patterns of repositories: `team/*`, `team/**`.

use std::{fmt, str::FromStr};

use crate::RepositoryName;

/// A pattern of repository names: `*` stands for any characters within one path component, `**` for any characters
/// at all, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryGlob(Box<str>);

/// The text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern of repositories is lower-case letters, digits, . _ - and /, with * and **, such as team/**")]
pub struct RepositoryGlobError;

impl RepositoryGlob {
    /// Whether `name`, in full (`library/alpine`), is one of those meant.
    #[must_use]
    pub fn matches(&self, name: &RepositoryName) -> bool {
        matches(self.0.as_bytes(), name.as_str().as_bytes())
    }
}

/// Matches byte by byte, keeping the set of pattern positions reached so far: linear in pattern times text, whatever
/// the pattern.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    skip_stars(pattern, &mut reached);
    for &byte in text {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..pattern.len()).filter(|&at| reached[at]) {
            match star(pattern, at) {
                Some((_, crosses)) => next[at] |= crosses || byte != b'/',
                None => next[at + 1] |= pattern[at] == byte,
            }
        }
        reached = next;
        skip_stars(pattern, &mut reached);
    }
    reached[pattern.len()]
}

/// The star at `at`: its length, and whether it crosses `/`.
fn star(pattern: &[u8], at: usize) -> Option<(usize, bool)> {
    match &pattern[at..] {
        [b'*', b'*', ..] => Some((2, true)),
        [b'*', ..] => Some((1, false)),
        _ => None,
    }
}

/// A star may stand for nothing: where one is reached, so is what follows it.
fn skip_stars(pattern: &[u8], reached: &mut [bool]) {
    for at in 0..pattern.len() {
        if let Some((length, _)) = star(pattern, at).filter(|_| reached[at]) {
            reached[at + length] = true;
        }
    }
}

impl fmt::Display for RepositoryGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryGlob {
    type Err = RepositoryGlobError;

    fn from_str(text: &str) -> Result<Self, RepositoryGlobError> {
        let known = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'*');
        let sound = !text.is_empty() && text.len() <= 255 && text.bytes().all(known) && !text.contains("***");
        if sound && text.split('/').all(|part| !part.is_empty()) {
            Ok(Self(text.into()))
        } else {
            Err(RepositoryGlobError)
        }
    }
}

crate::serde_as_text!(RepositoryGlob);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hit(pattern: &str, name: &str) -> bool {
        pattern.parse::<RepositoryGlob>().unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn one_star_stays_within_a_component_and_two_cross() {
        for (pattern, name, expected) in [
            ("library/alpine", "library/alpine", true),
            ("library/alpine", "library/alpine-git", false),
            ("library/*", "library/alpine", true),
            ("library/*", "library/a/b", false),
            ("team/**", "team/a/b", true),
            ("team/**", "team", false),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("**/app", "x/y/app", true),
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c", "a/c", false),
            ("*-*/**", "a-b/c", true),
        ] {
            assert_eq!(hit(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn refuses_what_can_match_nothing() {
        for text in ["", "/a", "a/", "a//b", "A", "a b", "a***", "a:1", "[a]"] {
            assert_eq!(text.parse::<RepositoryGlob>(), Err(RepositoryGlobError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_without_stars_matches_itself_and_two_stars_match_all(name in "[a-z]{1,4}(/[a-z]{1,4}){0,3}") {
            prop_assert!(hit(&name, &name));
            prop_assert!(hit("**", &name));
        }
    }
}
