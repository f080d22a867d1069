//! Whether the node's runtime reads what the agent writes, as far as its configuration tells (design N5). The
//! configuration itself is never written: `mirrors` beside `config_path` would take the node's runtime down.
//!
//! - [`read`]: the one module here with IO: config.toml and what it imports.
//! - `layers`: those files as containerd puts them together, by its version and theirs.
//! - `verdict`: what they say of our directory.
//! - `distribution`: systems that keep their configuration elsewhere, or take it from their own API alone.
//!
//! Sources: containerd's `cmd/containerd/server/config`, `internal/cri/config` and `internal/cri/server/images`, at
//! 1.7.34, 2.0.11, 2.1.9, 2.2.7, 2.3.4 and 2.4.2.

mod distribution;
mod layers;
mod read;
mod verdict;

use tidepool_oci::RegistryName;

pub use distribution::Distribution;
pub use read::{ConfigFiles, Content, read};

use crate::{node::NodeFacts, registries_conf};

/// What the runtime's configuration says about our files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It reads them, as far as can be told.
    Expected,
    /// It may not; the message says why and what makes it sure.
    Doubtful(String),
    /// It does not; the message says what to change.
    NotConfigured(String),
    /// The system writes these files itself, from its own configuration; the message has what to put there.
    Native(String),
    /// The runtime has no such files.
    OtherRuntime(String),
}

impl Support {
    /// It in a word, which changes with nothing else.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Expected => "Configured",
            Self::Doubtful(_) => "Doubtful",
            Self::NotConfigured(_) => "NotConfigured",
            Self::Native(_) => "Native",
            Self::OtherRuntime(_) => "Unsupported",
        }
    }

    /// What to change, where something is to be.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Expected => None,
            Self::Doubtful(advice)
            | Self::NotConfigured(advice)
            | Self::Native(advice)
            | Self::OtherRuntime(advice) => Some(advice),
        }
    }
}

/// Where things are on the node, as its owner knows them.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The registry directory that the agent writes to.
    pub directory: &'a str,
    /// The runtime's configuration.
    pub config: &'a str,
    /// Port of the listener.
    pub port: u16,
}

/// Tells whether the runtime of `node` reads files in the registry directory; none until the kubelet names the runtime.
/// `registries` are those that mirrors serve here.
#[must_use]
pub fn support(
    node: &NodeFacts,
    files: &ConfigFiles,
    place: Place<'_>,
    registries: &[RegistryName],
) -> Option<Support> {
    let runtime = node.runtime.as_ref()?;
    let distribution = Distribution::of(node);
    if let Some(snippet) = distribution.native(place.port, registries) {
        return Some(Support::Native(snippet));
    }
    if let Some(other) = registries_conf::support(runtime, place.directory) {
        return Some(other);
    }
    if !runtime.is_containerd() {
        let name = &runtime.name;
        return Some(Support::OtherRuntime(format!(
            "the node's runtime is {name}, which does not read hosts.toml; exclude the node with label tidepool.dev/exclude=true"
        )));
    }
    if let Some(elsewhere) = distribution.elsewhere(place) {
        return Some(Support::NotConfigured(elsewhere));
    }
    let verdict = verdict::of(runtime, files, place);
    Some(match (verdict, distribution.instead(place.port, registries)) {
        // Nobody edits config.toml there: it is made anew with each node.
        (Support::NotConfigured(_), Some(remedy)) => Support::NotConfigured(remedy),
        (verdict, _) => verdict,
    })
}

#[cfg(test)]
mod tests;
