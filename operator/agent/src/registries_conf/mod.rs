//! The text of a drop-in file of `registries.conf.d` that names our listener as the mirror of registries, for CRI-O and
//! whatever else reads containers-registries.conf(5). Pure.
//!
//! These runtimes do not say in a request which registry they mean, so the mirror's location has it as first part of the
//! path. They choose a mirror by the manifest and stay with it: a blob that fails there fails the pull.

mod others;

use std::collections::BTreeSet;

use clap::ValueEnum;
use tidepool_oci::RegistryName;
use toml_edit::{Document, DocumentMut, Item, Table};

pub use others::{Claims, claims};

use crate::{hosts_toml::MergeError, node::RuntimeVersion, runtime_config::Support};

/// Name of such a directory, by which a setting is known to mean one.
const DIRECTORY: &str = "registries.conf.d";

/// What our tables say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Port of the listener on 127.0.0.1.
    pub port: u16,
    /// Which pulls come to the mirror.
    pub pull_from_mirror: PullFromMirror,
}

/// Which pulls of a CRI-O node come to the mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PullFromMirror {
    /// Those of images by digest, whose content no mirror can change.
    #[default]
    DigestOnly,
    /// Those by tag, too.
    All,
}

/// A registry whose name such a file cannot express.
#[derive(Debug, thiserror::Error)]
#[error("no image reference can have {0} as part of its path")]
pub struct Inexpressible(RegistryName);

impl Settings {
    /// Our host, as the marker names it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the mirror has a registry.
    ///
    /// # Errors
    /// [`Inexpressible`] for an IPv6 address.
    pub fn location(&self, registry: &RegistryName) -> Result<String, Inexpressible> {
        if registry.as_str().starts_with('[') {
            return Err(Inexpressible(registry.clone()));
        }
        // `:` is illegal in a path, and no part of one may end in `_`.
        let part = registry.path_segment();
        Ok(format!("127.0.0.1:{}/{}", self.port, part.trim_end_matches('_')))
    }

    fn table(&self, registry: &RegistryName) -> Result<String, Inexpressible> {
        let location = self.location(registry)?;
        let which = match self.pull_from_mirror {
            PullFromMirror::DigestOnly => "digest-only",
            PullFromMirror::All => "all",
        };
        Ok(format!(
            "\n[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n[[registry.mirror]]\nlocation = \"{location}\"\ninsecure = true\npull-from-mirror = \"{which}\"\n"
        ))
    }
}

const COMMENT: &str = "# Tidepool's agent on this node; where it does not answer, the runtime goes on as if its mirrors were not there.\n";

/// The drop-in for `registries`.
///
/// # Errors
/// [`Inexpressible`] when one of them has no place in such a file.
pub fn text(registries: &BTreeSet<RegistryName>, settings: &Settings) -> Result<String, Inexpressible> {
    let tables: Result<Vec<_>, _> = registries.iter().map(|registry| settings.table(registry)).collect();
    Ok(format!("{COMMENT}{}", tables?.concat()))
}

/// The registries that a text sends to a mirror on 127.0.0.1; none of a text that is no TOML.
#[must_use]
pub fn mirrored(text: &str) -> BTreeSet<RegistryName> {
    let Ok(document) = Document::parse(text) else { return BTreeSet::new() };
    let tables = document.get("registry").and_then(Item::as_array_of_tables).into_iter().flatten();
    let ours = tables.filter(|table| mirrors(table).any(|mirror| is_ours(mirror, None)));
    ours.filter_map(|table| prefix(table)?.parse().ok()).collect()
}

/// Takes our mirrors out of a drop-in that somebody edited, and registries with nothing else; the rest stays.
///
/// # Errors
/// [`MergeError::Syntax`] when it is no TOML any more.
pub fn strip(edited: &str, host: &str) -> Result<String, MergeError> {
    let text = cut(edited, host, |_| true)?;
    let has_more = text.lines().any(|line| !line.trim().is_empty() && format!("{}\n", line.trim()) != COMMENT);
    Ok(if has_more { text } else { String::new() })
}

/// As [`strip`], of these registries only.
///
/// # Errors
/// [`MergeError::Syntax`] when it is no TOML any more.
pub fn without(edited: &str, host: &str, gone: &BTreeSet<RegistryName>) -> Result<String, MergeError> {
    let is_gone =
        |registry: &Table| prefix(registry).and_then(|name| name.parse().ok()).is_some_and(|name| gone.contains(&name));
    cut(edited, host, is_gone)
}

fn cut(edited: &str, host: &str, applies: impl Fn(&Table) -> bool) -> Result<String, MergeError> {
    let mut document: DocumentMut = edited.parse().map_err(MergeError::Syntax)?;
    if let Some(registries) = document.get_mut("registry").and_then(Item::as_array_of_tables_mut) {
        let emptied: Vec<bool> =
            registries.iter_mut().map(|registry| applies(registry) && loses_all(registry, host)).collect();
        let mut emptied = emptied.into_iter();
        registries.retain(|_| emptied.next() != Some(true));
        if registries.is_empty() {
            document.remove("registry");
        }
    }
    Ok(document.to_string())
}

/// Takes our mirror out of one table; whether nothing else was in it.
fn loses_all(registry: &mut Table, host: &str) -> bool {
    let Some(mirrors) = registry.get_mut("mirror").and_then(Item::as_array_of_tables_mut) else { return false };
    let before = mirrors.len();
    mirrors.retain(|mirror| !is_ours(mirror, Some(host)));
    let (was_ours, is_empty) = (mirrors.len() < before, mirrors.is_empty());
    if is_empty {
        registry.remove("mirror");
    }
    was_ours && registry.iter().all(|(key, _)| matches!(key, "prefix" | "location"))
}

/// What is known of a runtime's reading of `directory`, where either is not containerd's; there is no configuration to
/// look at.
#[must_use]
pub fn support(runtime: &RuntimeVersion, directory: &str) -> Option<Support> {
    let is_ours = directory.trim_end_matches('/').ends_with(DIRECTORY);
    match (runtime.is_cri_o(), is_ours) {
        (true, true) => Some(Support::Doubtful(format!(
            "CRI-O takes {directory}/50-tidepool.conf when it is told to: systemctl reload crio on the node, or auto_reload_registries = true in crio.conf; pulls by tag come to the mirror only with agent.pullFromMirror: all"
        ))),
        (true, false) => Some(Support::OtherRuntime(format!(
            "the node's runtime is CRI-O, which does not read {directory}; in a cluster of CRI-O nodes set agent.registryDir to /etc/containers/{DIRECTORY} and agent.runtimeConfigDir to /etc/containers, in a mixed one exclude the node with label tidepool.dev/exclude=true"
        ))),
        (false, true) => Some(Support::OtherRuntime(format!(
            "agent.registryDir is {directory}, which is CRI-O's, and the node's runtime is {}; exclude the node with label tidepool.dev/exclude=true, or set agent.registryDir to what its runtime reads",
            runtime.name
        ))),
        (false, false) => None,
    }
}

/// What images a `[[registry]]` is about.
fn prefix(registry: &Table) -> Option<&str> {
    let text = |key| registry.get(key).and_then(Item::as_str).filter(|text: &&str| !text.is_empty());
    text("prefix").or_else(|| text("location")).map(|text| text.trim_end_matches('/'))
}

fn mirrors(registry: &Table) -> impl Iterator<Item = &Table> {
    registry.get("mirror").and_then(Item::as_array_of_tables).into_iter().flatten()
}

fn is_ours(mirror: &Table, host: Option<&str>) -> bool {
    let host = host.map_or("127.0.0.1:", |host| host.trim_start_matches("http://"));
    let location = mirror.get("location").and_then(Item::as_str);
    location.is_some_and(|location| location.starts_with(host))
}

#[cfg(test)]
mod tests;
