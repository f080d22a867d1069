//! Patterns of tags: `v1.*.*`.

use std::{fmt, str::FromStr};

/// A pattern of tags: `*` stands for any characters, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagGlob(Box<str>);

/// The text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern of tags is at most 128 letters, digits, . _ - and *, such as v1.*.*")]
pub struct TagGlobError;

impl TagGlob {
    /// Whether `tag` is one of those meant.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        matches(self.0.as_bytes(), tag.as_bytes())
    }
}

/// Matches byte by byte; where that fails, the last star takes one byte more. Nothing is allocated, for each pull asks.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while read < text.len() {
        match (pattern.get(at), last_star) {
            (Some(b'*'), _) => {
                last_star = Some((at, read));
                at += 1;
            }
            (Some(byte), _) if *byte == text[read] => (at, read) = (at + 1, read + 1),
            (_, Some((star, taken))) => {
                last_star = Some((star, taken + 1));
                (at, read) = (star + 1, taken + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl fmt::Display for TagGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TagGlob {
    type Err = TagGlobError;

    fn from_str(text: &str) -> Result<Self, TagGlobError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*');
        let sound = (1..=128).contains(&text.len()) && text.bytes().all(known);
        if sound && !text.starts_with(['.', '-']) { Ok(Self(text.into())) } else { Err(TagGlobError) }
    }
}

crate::serde_as_text!(TagGlob);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_any_characters_and_all_else_itself() {
        for (pattern, tag, expected) in [
            ("v1.2.3", "v1.2.3", true),
            ("v1.2.3", "v1.2.30", false),
            ("v1.2.3", "V1.2.3", false),
            ("v1", "v", false),
            ("v*.*.*", "v1.2.3", true),
            ("v*.*.*", "v1.2", false),
            ("*-2024*", "app-2023-2024-11", true),
            ("*", "latest", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbbcd", false),
            ("*a", "aab", false),
            ("**a", "aaa", true),
            ("1?3", "123", false),
        ] {
            let read = pattern.parse::<TagGlob>();
            assert_eq!(read.is_ok_and(|glob| glob.matches(tag)), expected, "{pattern} {tag}");
        }
    }

    #[test]
    fn refuses_what_can_match_no_tag() {
        for text in ["", ".1", "-1", "a/b", "a b", "a:1", "é", &"a".repeat(129)] {
            assert_eq!(text.parse::<TagGlob>(), Err(TagGlobError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_tag_matches_itself_and_each_of_its_parts_within_stars(tag in "[a-c]{1,8}", from in 0usize..8, to in 0usize..8) {
            let part = tag.get(from..to.min(tag.len())).unwrap_or_default();
            prop_assert!(tag.parse::<TagGlob>().unwrap().matches(&tag));
            let within = format!("*{part}*");
            prop_assert!(within.parse::<TagGlob>().unwrap().matches(&tag));
        }
    }
}
