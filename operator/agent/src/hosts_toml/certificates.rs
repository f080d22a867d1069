//! Certificates that a directory's hosts.toml names, or that containerd finds there by their file names alone.
//!
//! A file of ours beside them hides them, and one that names them breaks pulls when they go (design N1): where they
//! are, we write nothing.

use toml_edit::{Document, Item, TableLike};

use super::MergeError;

/// Whether containerd takes a file in a directory without hosts.toml for a certificate or key.
#[must_use]
pub fn is_certificate(file: &str) -> bool {
    [".crt", ".cert", ".key"].iter().any(|ending| file.ends_with(ending))
}

/// Whether a hosts.toml names certificates, for itself or for one of its hosts.
///
/// # Errors
/// [`MergeError::Syntax`] when the text is no TOML.
pub fn names_certificates(text: &str) -> Result<bool, MergeError> {
    let document = Document::parse(text).map_err(MergeError::Syntax)?;
    let names = |table: &dyn TableLike| ["ca", "client"].iter().any(|key| table.contains_key(key));
    let hosts = document.get("host").and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter);
    let mut tables = hosts.filter_map(|(_, host)| host.as_table_like());
    Ok(names(document.as_table()) || tables.any(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_seen_by_their_names_and_in_every_table() {
        assert!(["ca.crt", "me.cert", "me.key"].into_iter().all(is_certificate) && !is_certificate("notes.txt"));
        for text in ["ca = \"/a\"\n", "[host.\"https://a\"]\nclient = \"c\"\n", "host = {\"https://a\" = {ca = []}}\n"]
        {
            assert!(names_certificates(text).unwrap(), "{text}");
        }
        assert!(!names_certificates("server = \"https://ca\"\n[host.\"https://a\"]\n").unwrap());
        assert!(names_certificates("ca = ").is_err());
    }
}
