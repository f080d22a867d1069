//! On which nodes the members of a mirror are.

use k8s_openapi::{api::core::v1::TopologySpreadConstraint, apimachinery::pkg::apis::meta::v1::LabelSelector};

use crate::{ValidMirror, ValidStorage, names};

/// What the spec says of it; otherwise on different nodes, where that can be. The same for any number of members, or one
/// more would restart those that are there.
pub(super) fn spread(mirror: &ValidMirror) -> Vec<TopologySpreadConstraint> {
    let said = &mirror.proxy.topology_spread_constraints;
    if said.is_empty() {
        return vec![different_nodes(mirror)];
    }
    // One that counts nobody spreads nothing.
    let counting = |said: &TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: said.label_selector.clone().or_else(|| Some(members(mirror))),
        ..said.clone()
    };
    said.iter().map(counting).collect()
}

fn different_nodes(mirror: &ValidMirror) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(members(mirror)),
        // Pods that are about to be replaced count for nothing; those with volumes are each of a template of their own.
        match_label_keys: match mirror.storage {
            ValidStorage::Ephemeral { .. } => Some(vec!["pod-template-hash".to_owned()]),
            ValidStorage::Volume { .. } => None,
        },
        ..TopologySpreadConstraint::default()
    }
}

fn members(mirror: &ValidMirror) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&mirror.name)), match_expressions: None }
}
