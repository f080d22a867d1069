//! The document agents read: which mirrors there are, and which nodes use them for which registries.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepool_oci::RegistryName;

use crate::names::EXCLUDE_LABEL;

/// What all agents do, as one document in ConfigMap `tidepool-nodes`.
///
/// Every agent reads the whole document and keeps what its node's labels select. Unknown fields are ignored, so that
/// an old agent reads a newer operator's document of the same [`NodesDocument::VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodesDocument {
    /// Always [`NodesDocument::VERSION`]; an agent keeps its last document when it meets another.
    pub version: u32,
    /// About how many nodes the cluster has, rather too many than too few: the more there are, the more time agents take
    /// to report what they all learn at once.
    #[serde(default = "few")]
    pub nodes: u32,
    /// Mirrors, by name.
    #[serde(default)]
    pub mirrors: Vec<MirrorEntry>,
}

fn few() -> u32 {
    NodesDocument::FEW
}

/// One mirror, as agents see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorEntry {
    /// Name of the RegistryMirror.
    pub name: String,
    /// Its uid: a mirror deleted and made again is another one.
    pub uid: String,
    /// Of two mirrors of one registry on one node the one with the higher priority serves it.
    #[serde(default)]
    pub priority: i32,
    /// When it was created, RFC 3339, in UTC and whole seconds; of two mirrors with one priority the older serves.
    pub created: String,
    /// What is done on nodes.
    pub mode: Mode,
    /// The nodes it is for.
    #[serde(default)]
    pub selector: NodeSelector,
    /// The registries that are pulled through it.
    pub registries: Vec<RegistryName>,
}

/// What a mirror does on the nodes it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Files are written and pulls are forwarded.
    Configure,
    /// Nothing is written; the report says what would be.
    ReportOnly,
    /// Files are taken back: the kill switch.
    Withdraw,
}

/// Nodes by their labels; empty selects all. The shape and meaning of Kubernetes' `LabelSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels a node must have with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions a node's labels must meet, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How its value relates to `values`.
    pub operator: Operator,
    /// Values for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// The operators of Kubernetes' label selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label is there, with one of the values.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// The document is of a version that this reader does not know.
#[derive(Debug, thiserror::Error)]
#[error("document version {found} is not {expected}: operator and agents are of different releases")]
pub struct UnknownVersion {
    found: u32,
    expected: u32,
}

impl MirrorEntry {
    /// Which of two mirrors serves a registry that both mirror on one node (`Less`: this one): the one with the higher
    /// priority, then the older, then the first by name.
    #[must_use]
    pub fn precedence(&self, other: &Self) -> Ordering {
        // An unreadable time is later than any: it must not take a registry from a mirror that has it.
        let created = |mirror: &Self| mirror.created.parse::<Timestamp>().unwrap_or(Timestamp::MAX);
        let by_priority = other.priority.cmp(&self.priority);
        by_priority.then_with(|| created(self).cmp(&created(other))).then_with(|| self.name.cmp(&other.name))
    }
}

/// Whether a node's labels say that it is to be left alone.
#[must_use]
pub fn is_excluded(labels: &BTreeMap<String, String>) -> bool {
    labels.get(EXCLUDE_LABEL).is_some_and(|value| value == "true")
}

impl NodesDocument {
    /// The version this code reads and writes.
    pub const VERSION: u32 = 1;
    /// So few nodes that their number is of no concern; a document that names none means so many.
    pub const FEW: u32 = 64;

    /// A document of the current version, for few nodes.
    #[must_use]
    pub fn new(mirrors: Vec<MirrorEntry>) -> Self {
        Self { version: Self::VERSION, nodes: Self::FEW, mirrors }
    }

    /// Checks that this code understands the document.
    ///
    /// # Errors
    /// [`UnknownVersion`] when it does not.
    pub fn check_version(&self) -> Result<(), UnknownVersion> {
        if self.version == Self::VERSION {
            return Ok(());
        }
        Err(UnknownVersion { found: self.version, expected: Self::VERSION })
    }
}

impl NodeSelector {
    /// Whether a node with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        equal && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_selector_means_what_kubernetes_means() {
        let zone = |operator, values: &[&str]| NodeSelector {
            match_expressions: vec![Requirement {
                key: "zone".to_owned(),
                operator,
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
            ..NodeSelector::default()
        };
        let (a, none) = (labels(&[("zone", "a")]), labels(&[]));
        assert!(NodeSelector::default().matches(&none));
        assert!(zone(Operator::In, &["a", "b"]).matches(&a) && !zone(Operator::In, &["a"]).matches(&none));
        assert!(!zone(Operator::NotIn, &["a"]).matches(&a) && zone(Operator::NotIn, &["a"]).matches(&none));
        assert!(zone(Operator::Exists, &[]).matches(&a) && !zone(Operator::Exists, &[]).matches(&none));
        assert!(!zone(Operator::DoesNotExist, &[]).matches(&a) && zone(Operator::DoesNotExist, &[]).matches(&none));
    }

    #[test]
    fn the_higher_priority_comes_first_then_the_older_then_the_name() {
        let entry = |name: &str, priority: i32, created: &str| MirrorEntry {
            name: name.to_owned(),
            uid: name.to_owned(),
            priority,
            created: created.to_owned(),
            mode: Mode::Configure,
            selector: NodeSelector::default(),
            registries: Vec::new(),
        };
        let (new, old) = ("2026-02-01T00:00:00Z", "2026-01-01T00:00:00+01:00");
        let mut entries =
            [entry("c", 0, "?"), entry("b", 0, new), entry("a", 0, new), entry("z", 0, old), entry("y", 1, new)];
        entries.sort_by(MirrorEntry::precedence);
        assert_eq!(entries.map(|entry| entry.name), ["y", "z", "a", "b", "c"]);
    }

    #[test]
    fn every_part_of_a_selector_must_match() {
        let selector = NodeSelector { match_labels: labels(&[("a", "1"), ("b", "2")]), ..NodeSelector::default() };
        assert!(selector.matches(&labels(&[("a", "1"), ("b", "2"), ("c", "3")])));
        assert!(!selector.matches(&labels(&[("a", "1")])));
    }

    #[test]
    fn a_document_of_a_newer_operator_is_read_and_of_another_version_refused() {
        let newer = r#"{"version":1,"mirrors":[{"name":"p","uid":"u","created":"2026-01-01T00:00:00Z","mode":"Configure","registries":["docker.io"],"new":1}]}"#;
        let document: NodesDocument = serde_json::from_str(newer).unwrap();
        assert!(document.check_version().is_ok());
        assert_eq!(document.nodes, NodesDocument::FEW);
        let other: NodesDocument = serde_json::from_str(r#"{"version":2}"#).unwrap();
        assert!(other.check_version().unwrap_err().to_string().contains("version 2"));
    }
}
