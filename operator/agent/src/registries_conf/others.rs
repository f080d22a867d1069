//! What other files of registries.conf say: a table of ours for the same images would replace theirs. Pure.

use tidepool_oci::RegistryName;
use toml_edit::{Document, Item, Table};

use super::prefix;
use crate::hosts_toml::MergeError;

/// The images that a file has tables for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<String>);

/// Reads what a file says of registries, in either version of the format.
///
/// # Errors
/// [`MergeError::Syntax`] when it is no TOML: then the runtime itself does not start with it.
pub fn claims(text: &str) -> Result<Claims, MergeError> {
    let document = Document::parse(text).map_err(MergeError::Syntax)?;
    let tables = document.get("registry").and_then(Item::as_array_of_tables).into_iter().flatten();
    let mut prefixes: Vec<_> = tables.filter_map(prefix).map(str::to_owned).collect();
    for list in ["insecure", "block"] {
        prefixes.extend(old_list(document.as_table(), list));
    }
    Ok(Claims(prefixes))
}

/// Registries of a list of version 1: `[registries.insecure] registries = [...]`.
fn old_list(document: &Table, list: &str) -> Vec<String> {
    let registries =
        document.get("registries").and_then(|lists| lists.get(list)).and_then(|list| list.get("registries"));
    let registries = registries.and_then(Item::as_array).into_iter().flatten();
    registries.filter_map(|registry| Some(registry.as_str()?.trim_end_matches('/').to_owned())).collect()
}

impl Claims {
    /// The claim that a table of ours for `registry` would override: of the same prefix, or a wildcard that covers it.
    /// Longer ones go on overriding ours.
    #[must_use]
    pub fn on(&self, registry: &RegistryName) -> Option<&str> {
        let host = registry.host_and_port().0;
        let claims = |prefix: &&String| match prefix.strip_prefix('*') {
            Some(end) => host.ends_with(end) || registry.as_str().ends_with(end),
            None => *prefix == registry.as_str(),
        };
        self.0.iter().find(claims).map(String::as_str)
    }
}
