//! Certificates that a directory's hosts.toml names, or that containerd finds there by their file names alone.
//!
//! A file of ours in a directory hides what lay there before it, so it has to name those certificates itself: else
//! the fall-back to the upstream would fail where it worked before.

use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use super::MergeError;

/// A hosts.toml that says what containerd takes from a directory with certificates and no hosts.toml: each `*.crt` is
/// an authority, each `*.cert` with its `*.key` a client certificate. Empty when there are none.
#[must_use]
pub fn certificates(files: &[String], folder: &str) -> String {
    let ending = |ending: &'static str| files.iter().filter_map(move |file| file.strip_suffix(ending));
    let authorities: Array = ending(".crt").map(|name| format!("{folder}{name}.crt")).collect();
    let has_key = |name: &&str| files.iter().any(|file| file.strip_suffix(".key") == Some(name));
    let pair = |name: &str| -> Value {
        [format!("{folder}{name}.cert"), format!("{folder}{name}.key")].into_iter().collect::<Array>().into()
    };
    let clients: Array = ending(".cert").filter(has_key).map(pair).collect();
    let mut document = DocumentMut::new();
    for (key, values) in [("ca", authorities), ("client", clients)] {
        if !values.is_empty() {
            document[key] = Item::Value(values.into());
        }
    }
    document.to_string()
}

/// Rewrites the relative paths of a hosts.toml for another directory, from which `folder` leads to the first one.
///
/// # Errors
/// [`MergeError::Syntax`] when the text is no TOML.
pub fn rebase(text: &str, folder: &str) -> Result<String, MergeError> {
    let mut document: DocumentMut = text.parse().map_err(MergeError::Syntax)?;
    rebase_table(document.as_table_mut(), folder);
    if let Some(hosts) = document.get_mut("host").and_then(Item::as_table_like_mut) {
        for (_, host) in hosts.iter_mut() {
            if let Some(host) = host.as_table_like_mut() {
                rebase_table(host, folder);
            }
        }
    }
    Ok(document.to_string())
}

fn rebase_table(table: &mut dyn TableLike, folder: &str) {
    for key in ["ca", "client"] {
        if let Some(value) = table.get_mut(key).and_then(Item::as_value_mut) {
            rebase_value(value, folder);
        }
    }
}

fn rebase_value(value: &mut Value, folder: &str) {
    if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(|value| rebase_value(value, folder));
    }
    if let Some(path) = value.as_str().filter(|path| !path.starts_with('/')) {
        let decor = value.decor().clone();
        let rebased = format!("{folder}{path}");
        *value = rebased.into();
        *value.decor_mut() = decor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_named_as_containerd_finds_them() {
        let files = ["ca.crt", "me.cert", "me.key", "lone.cert", "notes.txt"].map(str::to_owned);
        let text = certificates(&files, "");
        assert_eq!(text, "ca = [\"ca.crt\"]\nclient = [[\"me.cert\", \"me.key\"]]\n");
        assert_eq!(certificates(&["notes.txt".to_owned()], ""), "");
    }

    #[test]
    fn relative_paths_follow_and_absolute_ones_stay() {
        let text = "ca = \"ca.crt\" # ours\n[host.\"https://a\"]\nca = [\"/etc/ca.crt\", \"b.crt\"]\nclient = [[\"c.cert\", \"/k\"]]\n";
        let rebased = rebase(text, "../_default/").unwrap();
        assert_eq!(
            rebased,
            "ca = \"../_default/ca.crt\" # ours\n[host.\"https://a\"]\nca = [\"/etc/ca.crt\", \"../_default/b.crt\"]\nclient = [[\"../_default/c.cert\", \"/k\"]]\n"
        );
    }
}
