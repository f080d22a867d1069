//! Condition `NodesConfigured`, and the counts beside it, from what nodes report.

use std::collections::{BTreeMap, BTreeSet};

use tidepool_api::{
    MirrorNodeStatus, MirrorState, NodeMirror, NodesStatus, condition::NODES_CONFIGURED, mirror_node_condition, ready,
};
use tidepool_config::{MirrorEntry, Mode, is_excluded};
use tidepool_oci::RegistryName;

use super::Finding;

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct NodeFact<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// What its agent reported; `None` if it never did.
    pub report: Option<&'a MirrorNodeStatus>,
}

/// What the nodes of one mirror report, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    mode: Mode,
    selected: usize,
    active: usize,
    bypassing: usize,
    withdrawn: usize,
    pending: usize,
    shadowed: usize,
    unsupported: Named,
    /// Nodes without an agent, which nobody speaks for, and why where that is known.
    silent: Named,
    /// Those of them that have files of the mirror.
    left: Named,
    /// Registries that another mirror serves on a node of this one, with that mirror's name.
    pub(crate) shadowed_by: BTreeMap<RegistryName, String>,
}

/// Nodes of which one is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    count: usize,
    /// The first of them, with what is to be said of it.
    first: String,
}

impl Named {
    fn add(&mut self, node: &NodeFact<'_>, why: &str) {
        if self.count == 0 {
            self.first = if why.is_empty() { node.name.to_owned() } else { format!("{}: {why}", node.name) };
        }
        self.count += 1;
    }
}

/// Counts what nodes report of `entry`, one of `entries`, the mirrors agents have been told of.
#[must_use]
pub fn tally(entry: &MirrorEntry, entries: &[MirrorEntry], nodes: &[NodeFact<'_>]) -> Tally {
    let selected: Vec<_> = nodes.iter().filter(|node| is_selected(entry, node.labels)).collect();
    let mut tally = Tally {
        mode: entry.mode,
        selected: selected.len(),
        active: 0,
        bypassing: 0,
        withdrawn: 0,
        pending: 0,
        shadowed: 0,
        unsupported: Named::default(),
        silent: Named::default(),
        left: Named::default(),
        shadowed_by: shadows(entry, entries, &selected),
    };
    for node in selected {
        tally.count(entry, node);
    }
    tally
}

fn is_selected(entry: &MirrorEntry, labels: &BTreeMap<String, String>) -> bool {
    !is_excluded(labels) && entry.selector.matches(labels)
}

/// Why nobody speaks for a node, where that is so.
fn absence(report: &MirrorNodeStatus) -> Option<&str> {
    let ready = report.conditions.iter().find(|condition| condition.type_ == mirror_node_condition::READY)?;
    (ready.reason == ready::AGENT_NOT_READY).then_some(&ready.message)
}

/// Why the pulls of a node go past its agent, where that is known.
fn bypass(report: &MirrorNodeStatus) -> Option<&str> {
    let honored = report.conditions.iter().find(|condition| condition.type_ == mirror_node_condition::HONORED)?;
    (honored.status == "False").then_some(&honored.message)
}

/// Per node and registry one mirror wins. Only mirrors that write files take part.
fn shadows(entry: &MirrorEntry, entries: &[MirrorEntry], nodes: &[&NodeFact<'_>]) -> BTreeMap<RegistryName, String> {
    let wins = |other: &&MirrorEntry| other.mode == Mode::Configure && other.precedence(entry).is_lt();
    let mut winners: Vec<_> = entries.iter().filter(wins).collect();
    winners.sort_by(|a, b| a.precedence(b));
    let meets = |other: &MirrorEntry| nodes.iter().any(|node| other.selector.matches(node.labels));
    let shadow = |registry: &RegistryName| {
        let winner = winners.iter().find(|other| other.registries.contains(registry) && meets(other))?;
        Some((registry.clone(), winner.name.clone()))
    };
    entry.registries.iter().filter_map(shadow).collect()
}

impl Tally {
    fn count(&mut self, entry: &MirrorEntry, node: &NodeFact<'_>) {
        let Some(report) = node.report else {
            self.silent.add(node, "");
            return;
        };
        let mine = |mirror: &&NodeMirror| mirror.name == entry.name && mirror.uid == entry.uid;
        let found = report.mirrors.iter().find(mine);
        if let Some(why) = absence(report) {
            let has_files = |mirror: &NodeMirror| matches!(mirror.state, MirrorState::Active | MirrorState::Bypassing);
            if found.is_some_and(has_files) {
                self.left.add(node, why);
            }
            self.silent.add(node, why);
            return;
        }
        let Some(mirror) = found else {
            self.pending += 1;
            return;
        };
        match mirror.state {
            MirrorState::Pending => self.pending += 1,
            MirrorState::Active => match bypass(report).filter(|_| self.mode == Mode::Configure) {
                Some(why) => self.unsupported.add(node, why),
                None => self.active += 1,
            },
            MirrorState::Bypassing => self.bypassing += 1,
            MirrorState::Shadowed => self.shadowed += 1,
            MirrorState::Withdrawn => self.withdrawn += 1,
            MirrorState::Unsupported => self.unsupported.add(node, &mirror.message),
        }
    }

    /// The counts, as they are published.
    pub(super) fn status(&self) -> NodesStatus {
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        NodesStatus {
            selected: count(self.selected),
            active: count(self.active),
            bypassing: count(self.bypassing),
            unsupported: count(self.unsupported.count),
            summary: format!("{}/{}", self.active, self.selected),
        }
    }

    /// The states of [`Tally::by_state`].
    pub const STATES: [&str; 7] = ["active", "bypassing", "pending", "shadowed", "silent", "unsupported", "withdrawn"];

    /// Nodes by state, for a metric.
    #[must_use]
    pub fn by_state(&self) -> [(&'static str, usize); 7] {
        let (silent, unsupported) = (self.silent.count, self.unsupported.count);
        let counts = [self.active, self.bypassing, self.pending, self.shadowed, silent, unsupported, self.withdrawn];
        std::array::from_fn(|index| (Self::STATES[index], counts[index]))
    }
}

pub(super) fn finding(tally: Option<&Tally>) -> Finding {
    let no = |reason: &str, message: String| Finding::new(NODES_CONFIGURED, false, reason, message);
    let yes = |reason: &str, message: String| Finding::new(NODES_CONFIGURED, true, reason, message);
    let Some(tally) = tally else { return no("Pending", "agents have not been told yet".to_owned()) };
    let selected = tally.selected;
    match tally.mode {
        Mode::ReportOnly => return yes("ReportOnly", format!("nothing is written on {selected} nodes")),
        Mode::Withdraw => return withdrawn(tally),
        Mode::Configure => {}
    }
    if selected == 0 {
        return no("Pending", "no node matches spec.nodes.selector: change it, or label nodes".to_owned());
    }
    configured(tally)
}

fn withdrawn(tally: &Tally) -> Finding {
    let Tally { selected, active, bypassing, left, .. } = tally;
    let no = |message: String| Finding::new(NODES_CONFIGURED, false, "Pending", message);
    let files = active + bypassing + left.count;
    match (files, left) {
        (0, _) => Finding::new(NODES_CONFIGURED, true, "Withdrawn", format!("{selected} nodes are as they were")),
        (_, Named { count: 0, .. }) => no(format!("{files} of {selected} nodes still have files of this mirror: wait")),
        (_, Named { count, first }) => no(format!(
            "{files} of {selected} nodes still have files of this mirror, {count} of them without an agent to remove them; {first}"
        )),
    }
}

fn configured(tally: &Tally) -> Finding {
    let Tally { selected, active, bypassing, shadowed, unsupported, silent, .. } = tally;
    let no = |reason: &str, message: String| Finding::new(NODES_CONFIGURED, false, reason, message);
    if unsupported.count > 0 {
        let Named { count, first } = unsupported;
        return no("Unsupported", format!("{count} of {selected} nodes cannot use it; {first}"));
    }
    if silent.count > 0 {
        let Named { count: many, first } = silent;
        return no(
            "AgentMissing",
            format!(
                "{many} of {selected} nodes have no agent that reports, see pods of DaemonSet tidepool-agent; {first}"
            ),
        );
    }
    if *shadowed > 0 {
        let others: BTreeSet<_> = tally.shadowed_by.values().map(String::as_str).collect();
        let others = others.into_iter().collect::<Vec<_>>().join(", ");
        let by = if others.is_empty() { others } else { format!(" ({others})") };
        return no(
            "Shadowed",
            format!(
                "on {shadowed} of {selected} nodes other mirrors{by} serve its registries: raise spec.nodes.priority, or select other nodes"
            ),
        );
    }
    if tally.pending + tally.withdrawn > 0 {
        return no("Pending", format!("{} of {selected} nodes use it so far", active + bypassing));
    }
    // With members away nodes pull from the registries themselves, and come back without anybody's doing.
    Finding::new(
        NODES_CONFIGURED,
        true,
        "Configured",
        format!("{selected} nodes are set up to pull through it; Honored of their MirrorNodes says which were seen to"),
    )
}
