//! The first line of every file we write: whose it is, how it came about, and whether it was changed since.

use sha2::{Digest as _, Sha256};

const OWNER: &str = "# tidepool.dev/agent";
/// Version of the marker and of what it promises; a reader takes any it can verify.
const SCHEMA: u32 = 1;

/// What a marker says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// What was there before.
    pub origin: Origin,
    /// The host that we put in.
    pub host: String,
}

/// What was there before our file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No directory: it goes with the file.
    Created,
    /// A directory without hosts.toml.
    Absent,
    /// Somebody's hosts.toml, kept aside.
    Merged,
}

/// Whose a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership<'a> {
    /// It has no marker of ours.
    Foreign,
    /// Ours, as we left it.
    Ours(Marker),
    /// Ours, and changed by somebody; the text without the marker.
    Edited(Marker, &'a str),
}

impl Origin {
    const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Absent => "absent",
            Self::Merged => "merged",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Created, Self::Absent, Self::Merged].into_iter().find(|origin| origin.name() == name)
    }
}

/// Puts the marker in front of a text.
#[must_use]
pub fn with_marker(marker: &Marker, text: &str) -> String {
    let Marker { origin, host } = marker;
    format!("{OWNER} schema={SCHEMA} origin={} host={host} sha256={}\n{text}", origin.name(), hash(text))
}

/// Reads the marker of a file.
#[must_use]
pub fn ownership(text: &str) -> Ownership<'_> {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let Some(fields) = line.trim_end().strip_prefix(OWNER) else { return Ownership::Foreign };
    let field = |name: &str| fields.split(' ').filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name);
    let (Some((_, origin)), Some((_, host))) = (field("origin"), field("host")) else { return Ownership::Foreign };
    let Some(origin) = Origin::from_name(origin) else { return Ownership::Foreign };
    let marker = Marker { origin, host: host.to_owned() };
    if field("sha256").is_some_and(|(_, sum)| sum == hash(rest)) {
        Ownership::Ours(marker)
    } else {
        Ownership::Edited(marker, rest)
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_we_wrote_is_ours_and_any_change_to_it_is_seen(text in "(?s).{0,80}", more in "[a-z#\n]{1,4}", at in 0..80usize) {
            for origin in [Origin::Created, Origin::Absent, Origin::Merged] {
                let marker = Marker { origin, host: "http://127.0.0.1:909".to_owned() };
                let file = with_marker(&marker, &text);
                prop_assert_eq!(ownership(&file), Ownership::Ours(marker.clone()));
                let at = text.char_indices().map(|(at, _)| at).nth(at).unwrap_or(text.len());
                let edited = format!("{}{more}{}", &text[..at], &text[at..]);
                let file = format!("{}{edited}", file.strip_suffix(&text).unwrap());
                prop_assert_eq!(ownership(&file), Ownership::Edited(marker, &edited));
            }
        }

        #[test]
        fn reading_any_text_never_panics(text in "(# tidepool.dev/agent)?(?s).{0,80}") {
            let _ = ownership(&text);
        }
    }
}
