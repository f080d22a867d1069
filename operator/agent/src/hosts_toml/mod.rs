//! The text of a hosts.toml that names our listener first (design N1). Pure.
//!
//! Grammar: containerd's `docs/hosts.md`. Root keys come before the first table, hosts are tried in the order of the
//! file, and without `server` the upstream itself is tried last.

mod certificates;
mod marker;

use toml_edit::{Document, DocumentMut, Item, Table};

pub use certificates::{is_certificate, names_certificates};
pub use marker::{Marker, Origin, Ownership, ownership, with_marker};

/// What our table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Port of the listener on 127.0.0.1.
    pub port: u16,
    /// Whether the runtime knows `dial_timeout`.
    pub dial_timeout: bool,
}

impl Settings {
    /// Our host, as hosts.toml names it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Our table. Capabilities are explicit, since what is left out means all of them, and an unknown one makes
    /// containerd ignore the file. No TLS option: with one, containerd would try HTTPS first.
    fn table(&self) -> String {
        let timeout = if self.dial_timeout { "dial_timeout = \"1s\"\n" } else { "" };
        format!("{COMMENT}\n[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{timeout}", self.host())
    }
}

const COMMENT: &str =
    "# Tidepool's agent on this node; where it does not answer, the runtime goes on as if this table were not there.";

/// A file with our table in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The text, our host first.
    Text(String),
    /// The file named our host already: nothing of ours to add, and nothing to take back.
    HasIt,
}

/// Why our table cannot be put into a file.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// It is no TOML, so containerd ignores it too.
    #[error("the file is no TOML")]
    Syntax(#[source] toml_edit::TomlError),
    /// It is no text, so containerd ignores it too.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// It begins with a byte order mark, which may stand nowhere but at the very start, where our marker goes.
    #[error("it begins with a byte order mark")]
    ByteOrderMark,
    /// Its hosts are not written as `[host."..."]` tables.
    #[error("its hosts are not written as [host.\"...\"] tables, so none can be put before them")]
    Shape,
}

impl MergeError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "correct it (containerd ignores such a file as a whole), or remove it",
            Self::NotUtf8 => "save it as UTF-8, or remove it",
            Self::ByteOrderMark => "save it without the mark, or remove it",
            Self::Shape => "write its hosts as [host.\"...\"] tables, or remove the file",
        }
    }
}

/// Puts our table before all other hosts of `base`; every byte of `base` is kept. An empty `base` gives our own file.
///
/// # Errors
/// [`MergeError`] when `base` is not TOML or not of the shape containerd documents.
pub fn merge(base: &str, settings: &Settings) -> Result<Merged, MergeError> {
    if base.starts_with('\u{feff}') {
        return Err(MergeError::ByteOrderMark);
    }
    let document = Document::parse(base).map_err(MergeError::Syntax)?;
    if hosts(document.as_table()).any(|host| host == settings.host()) {
        return Ok(Merged::HasIt);
    }
    let (before, after) = base.split_at(end_of_root_keys(base, document.as_table()));
    let joint = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let gap = |side: &str| if side.trim().is_empty() { "" } else { "\n" };
    let text = format!("{before}{joint}{}{}{}{after}", gap(before), settings.table(), gap(after));
    let is_first = Document::parse(text.as_str())
        .is_ok_and(|merged| hosts(merged.as_table()).next().is_some_and(|host| host == settings.host()));
    if is_first { Ok(Merged::Text(text)) } else { Err(MergeError::Shape) }
}

/// Takes the table of `host` out of a file that somebody edited after us; the rest stays as they left it, byte for byte
/// where our table is as we wrote it.
///
/// # Errors
/// [`MergeError::Syntax`] when the file is no TOML any more.
pub fn strip(edited: &str, host: &str) -> Result<String, MergeError> {
    if let Some(theirs) = cut_out(edited, host) {
        return Ok(theirs);
    }
    let mut document: DocumentMut = edited.parse().map_err(MergeError::Syntax)?;
    if let Some(hosts) = document.get_mut("host").and_then(Item::as_table_like_mut) {
        hosts.remove(host);
        if hosts.is_empty() {
            document.remove("host");
        }
    }
    let text = document.to_string();
    Ok(if text.trim().is_empty() { String::new() } else { text })
}

/// Undoes [`merge`] where our table is still as we wrote it.
fn cut_out(edited: &str, host: &str) -> Option<String> {
    let port = host.strip_prefix("http://127.0.0.1:")?.parse().ok()?;
    // The longer first: the other is its beginning.
    let tables = [true, false].map(|dial_timeout| Settings { port, dial_timeout }.table());
    let table = tables.iter().find(|table| edited.contains(table.as_str()))?;
    let (before, after) = edited.split_once(table.as_str())?;
    // Somebody's keys below ours would become keys of what stands before.
    let mut lines = after.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines.next().is_some_and(|line| !line.starts_with('[')) {
        return None;
    }
    let before = before.strip_suffix('\n').filter(|text| text.ends_with('\n')).unwrap_or(before);
    let after = if after.trim().is_empty() { after } else { after.strip_prefix('\n').unwrap_or(after) };
    let text = format!("{before}{after}");
    let rest = Document::parse(text.as_str()).ok()?;
    let is_gone = hosts(rest.as_table()).all(|other| other != host);
    is_gone.then(|| if text.trim().is_empty() { String::new() } else { text.clone() })
}

fn hosts(document: &Table) -> impl Iterator<Item = &str> {
    let hosts = document.get("host").and_then(Item::as_table_like);
    hosts.into_iter().flat_map(|hosts| hosts.iter().map(|(host, _)| host))
}

/// Where the line of the last root key ends; 0 without root keys.
fn end_of_root_keys(text: &str, root: &Table) -> usize {
    let ends = root.get_values().into_iter().filter_map(|(_, value)| value.span()).map(|span| span.end);
    let Some(last) = ends.max() else { return 0 };
    text[last..].find('\n').map_or(text.len(), |newline| last + newline + 1)
}

#[cfg(test)]
mod tests;
