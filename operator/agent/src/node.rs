//! What the agent knows of its own node: labels, and the container runtime with what it understands.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSystemInfo};
use serde::{Deserialize, Serialize};

/// A node as the agent needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its labels, which mirrors select by.
    pub labels: BTreeMap<String, String>,
    /// Its container runtime, once the kubelet has reported it.
    pub runtime: Option<RuntimeVersion>,
    /// Its operating system, as the kubelet names it: `Talos (v1.11.2)`.
    #[serde(default)]
    pub os_image: String,
    /// The kubelet's version, in which distributions put their name: `v1.34.1+k3s1`.
    #[serde(default)]
    pub kubelet: String,
}

/// A container runtime and its version, as the kubelet reports them: `containerd://2.4.2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeVersion {
    /// `containerd`, `cri-o`, `docker`.
    pub name: String,
    /// Such as `2.4.2` or `1.7.34-k3s1`.
    pub version: String,
}

impl NodeFacts {
    /// Whether the node's owner asked that it be left alone.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        tidepool_config::is_excluded(&self.labels)
    }
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let runtime = info.and_then(|info| RuntimeVersion::parse(&info.container_runtime_version));
        let text = |of: fn(&NodeSystemInfo) -> &String| info.map(of).cloned().unwrap_or_default();
        Self { labels, runtime, os_image: text(|info| &info.os_image), kubelet: text(|info| &info.kubelet_version) }
    }
}

impl RuntimeVersion {
    /// Reads the kubelet's form, `<name>://<version>`; none when the kubelet has not found out yet.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, version) = text.split_once("://")?;
        let version = version.strip_prefix('v').unwrap_or(version);
        (!name.is_empty()).then(|| Self { name: name.to_owned(), version: version.to_owned() })
    }

    /// Whether it reads hosts.toml.
    #[must_use]
    pub fn is_containerd(&self) -> bool {
        self.name == "containerd"
    }

    /// Whether it reads registries.conf.
    #[must_use]
    pub fn is_cri_o(&self) -> bool {
        self.name == "cri-o"
    }

    /// Whether it knows `dial_timeout` in hosts.toml: containerd 2.0.7 and later of 2.0, 2.1 and later.
    #[must_use]
    pub fn understands_dial_timeout(&self) -> bool {
        let Some((major, minor, patch)) = self.numbers() else { return false };
        self.is_containerd() && ((major, minor) >= (2, 1) || (major, minor, patch) >= (2, 0, 7))
    }

    /// Whether a containerd without `config_path` reads `/etc/containerd/certs.d` of itself: 2.2 and later, partly.
    #[must_use]
    pub fn has_default_registry_dir(&self) -> bool {
        self.is_containerd() && self.numbers().is_some_and(|(major, minor, _)| (major, minor) >= (2, 2))
    }

    /// Major and minor version, where it has them.
    #[must_use]
    pub fn release(&self) -> Option<(u32, u32)> {
        self.numbers().map(|(major, minor, _)| (major, minor))
    }

    /// Major, minor and patch; what follows the digits of the patch (`-k3s1`, `+unknown`) says nothing here.
    fn numbers(&self) -> Option<(u32, u32, u32)> {
        let mut parts = self.version.splitn(3, '.');
        let mut next = || {
            let digits = parts.next()?;
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits[..end].parse().ok()
        };
        Some((next()?, next()?, next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dial_timeout_goes_only_where_it_is_understood() {
        let understands = |text: &str| RuntimeVersion::parse(text).unwrap().understands_dial_timeout();
        for text in ["containerd://2.4.2", "containerd://v2.1.0", "containerd://2.0.7", "containerd://2.1.4-k3s1"] {
            assert!(understands(text), "{text}");
        }
        for text in ["containerd://1.7.34", "containerd://2.0.6", "containerd://?", "cri-o://2.4.2"] {
            assert!(!understands(text), "{text}");
        }
    }

    #[test]
    fn a_runtime_the_kubelet_does_not_know_yet_is_unknown() {
        assert_eq!(RuntimeVersion::parse(""), None);
        assert_eq!(RuntimeVersion::parse("containerd://2.4.2").unwrap().version, "2.4.2");
    }

    #[test]
    fn only_the_value_true_excludes_a_node() {
        let node = |value: &str| NodeFacts {
            labels: BTreeMap::from([(tidepool_config::names::EXCLUDE_LABEL.to_owned(), value.to_owned())]),
            ..NodeFacts::default()
        };
        assert!(node("true").is_excluded() && !node("false").is_excluded() && !NodeFacts::default().is_excluded());
    }

    proptest! {
        #[test]
        fn reading_a_version_never_panics(text in ".*") {
            if let Some(runtime) = RuntimeVersion::parse(&format!("containerd://{text}")) {
                let _ = runtime.understands_dial_timeout();
            }
        }
    }
}
