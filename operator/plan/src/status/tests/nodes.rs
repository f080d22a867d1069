//! What nodes report, counted and told.

use std::collections::BTreeMap;

use tidepool_api::{MirrorNodeStatus, MirrorState, NodeMirror};
use tidepool_config::{Mode, NodeSelector};

use super::*;
use crate::NodeFact;

fn entry(name: &str, created: &str, registry: &str) -> tidepool_config::MirrorEntry {
    tidepool_config::MirrorEntry {
        name: name.into(),
        uid: format!("uid-of-{name}"),
        priority: 0,
        created: created.into(),
        mode: Mode::Configure,
        selector: NodeSelector::default(),
        registries: vec![registry.parse().unwrap()],
    }
}

fn report(name: &str, state: MirrorState) -> MirrorNodeStatus {
    let (uid, reason, message) = (format!("uid-of-{name}"), "Why".to_owned(), "do this".to_owned());
    MirrorNodeStatus {
        mirrors: vec![NodeMirror { name: name.into(), uid, state, reason, message }],
        ..Default::default()
    }
}

/// The message of the condition for nodes with these reports.
fn message_of(entry: &tidepool_config::MirrorEntry, reports: &[Option<MirrorNodeStatus>]) -> String {
    let labels = BTreeMap::new();
    let nodes: Vec<_> =
        reports.iter().map(|report| NodeFact { name: "n", labels: &labels, report: report.as_ref() }).collect();
    super::super::nodes::finding(Some(&tally(entry, std::slice::from_ref(entry), &nodes))).message
}

/// What the condition says for nodes with these reports.
fn nodes_say(entry: &tidepool_config::MirrorEntry, reports: &[Option<MirrorNodeStatus>]) -> (String, String) {
    let labels = BTreeMap::new();
    let nodes: Vec<_> =
        reports.iter().map(|report| NodeFact { name: "n", labels: &labels, report: report.as_ref() }).collect();
    let older = self::entry("older", "2026-01-01T00:00:00Z", "docker.io");
    let tally = tally(entry, &[older, entry.clone()], &nodes);
    let world = World { nodes: Some(tally), ..World::good() };
    (world.says("NodesConfigured"), world.status_at(0).nodes.unwrap().summary)
}

#[test]
fn nodes_are_counted_by_what_they_report() {
    use MirrorState::{Active, Bypassing, Pending, Shadowed, Unsupported};
    let mine = entry("reef", "2026-02-01T00:00:00Z", "ghcr.io");
    let state = |state| Some(report("reef", state));
    let says = |reports: &[Option<MirrorNodeStatus>]| nodes_say(&mine, reports);
    let pair = |condition: &str, summary: &str| (condition.to_owned(), summary.to_owned());
    assert_eq!(says(&[state(Active), state(Active)]), pair("True/Configured", "2/2"));
    assert_eq!(says(&[state(Active), state(Bypassing)]), pair("True/Configured", "1/2"));
    assert_eq!(says(&[state(Active), state(Pending)]), pair("False/Pending", "1/2"));
    assert_eq!(says(&[state(Active), None]), pair("False/AgentMissing", "1/2"));
    assert_eq!(says(&[state(Unsupported), None]), pair("False/Unsupported", "0/2"));
    assert_eq!(says(&[state(Shadowed)]), pair("False/Shadowed", "0/1"));
    assert_eq!(says(&[Some(report("another", Active))]), pair("False/Pending", "0/1"));
    assert_eq!(says(&[]), pair("False/Pending", "0/0"));
}

#[test]
fn n5_a_node_whose_pulls_go_past_its_agent_does_not_use_the_mirror() {
    let mine = entry("reef", "2026-02-01T00:00:00Z", "ghcr.io");
    let mut past = report("reef", MirrorState::Active);
    let honored = |status: &str| {
        serde_json::from_value(serde_json::json!({
            "type": "Honored", "status": status, "reason": "R", "message": "restart it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }))
    };
    past.conditions = vec![honored("Unknown").unwrap()];
    assert_eq!(nodes_say(&mine, &[Some(past.clone())]).0, "True/Configured");
    past.conditions = vec![honored("False").unwrap()];
    let (condition, summary) = nodes_say(&mine, &[Some(past), Some(report("reef", MirrorState::Active))]);
    assert_eq!((condition.as_str(), summary.as_str()), ("False/Unsupported", "1/2"));
}

#[test]
fn n5_a_node_without_an_agent_does_not_use_the_mirror_whatever_it_said_last() {
    let mut mine = entry("reef", "2026-02-01T00:00:00Z", "ghcr.io");
    let gone = |state: Option<MirrorState>| {
        let ready = serde_json::json!({
            "type": "Ready", "status": "Unknown", "reason": "AgentNotReady", "message": "mend the image",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let said = state.map(|state| report("reef", state)).unwrap_or_default();
        Some(MirrorNodeStatus { conditions: vec![serde_json::from_value(ready).unwrap()], ..said })
    };
    let active = Some(report("reef", MirrorState::Active));
    for gone in [gone(Some(MirrorState::Active)), gone(None)] {
        let (condition, summary) = nodes_say(&mine, &[active.clone(), gone]);
        assert_eq!((condition.as_str(), summary.as_str()), ("False/AgentMissing", "1/2"));
    }
    mine.mode = Mode::Withdraw;
    let withdrawn = Some(report("reef", MirrorState::Withdrawn));
    assert_eq!(nodes_say(&mine, &[withdrawn.clone(), gone(Some(MirrorState::Active))]).0, "False/Pending", "its files");
    let left = message_of(&mine, &[withdrawn.clone(), gone(Some(MirrorState::Active))]);
    assert!(left.contains("an agent to remove them; n: mend the image"), "{left}");
    assert_eq!(nodes_say(&mine, &[withdrawn, gone(Some(MirrorState::Withdrawn))]).0, "True/Withdrawn");
}

#[test]
fn withdrawal_is_done_when_no_node_has_files_left() {
    let mut mine = entry("reef", "2026-02-01T00:00:00Z", "ghcr.io");
    mine.mode = Mode::Withdraw;
    let state = |state| Some(report("reef", state));
    assert_eq!(nodes_say(&mine, &[state(MirrorState::Active)]).0, "False/Pending");
    assert_eq!(nodes_say(&mine, &[state(MirrorState::Withdrawn), None]).0, "True/Withdrawn");
}

#[test]
fn the_older_mirror_of_a_registry_wins_and_an_excluded_node_has_no_part() {
    let (older, newer) = (entry("b", "2026-01-01T00:00:00Z", "ghcr.io"), entry("a", "2026-02-01T00:00:00Z", "ghcr.io"));
    let labels = BTreeMap::new();
    let excluded = BTreeMap::from([("tidepool.dev/exclude".to_owned(), "true".to_owned())]);
    let node = |labels| NodeFact { name: "n", labels, report: None };
    let both = [older.clone(), newer.clone()];
    assert_eq!(tally(&newer, &both, &[node(&labels)]).shadowed_by.values().collect::<Vec<_>>(), ["b"]);
    assert!(tally(&older, &both, &[node(&labels)]).shadowed_by.is_empty());
    assert!(tally(&newer, &both, &[node(&excluded)]).shadowed_by.is_empty());
    let mut same = older.clone();
    same.name = "c".into();
    assert_eq!(tally(&same, &[older, same.clone()], &[node(&labels)]).shadowed_by.values().collect::<Vec<_>>(), ["b"]);
}
