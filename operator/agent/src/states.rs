//! What the agent says of each mirror on its node, and of the node as a whole. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tidepool_api::{MirrorState, NodeMirror};
use tidepool_config::{names::AGENTS_PORT, trust::AGENT_SECRET};
use tidepool_oci::RegistryName;

use crate::{
    honored::Evidence,
    runtime_config::Support,
    wanted::{Part, Role},
};

/// Whether a mirror's members answer this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One does.
    Up,
    /// None does.
    Down {
        /// Why.
        why: Trouble,
        /// Whether it has been so for long enough to say so.
        long: bool,
    },
}

/// Why no member of a mirror answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is none.
    NoMember,
    /// The agent cannot prove who it is to them: none was asked.
    NoIdentity,
    /// This many answer, and none proves that it is one, or believes the agent.
    Untrusted(usize),
    /// This many are silent.
    Silent(usize),
}

/// Why a registry has no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// Whether only the node's owner can change it.
    pub unsupported: bool,
    /// In CamelCase.
    pub reason: &'static str,
    /// With the remedy.
    pub message: String,
}

/// What the agent has seen on its node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whether the runtime reads our files; none until the kubelet names the runtime.
    pub support: Option<Support>,
    /// What proved that it does.
    pub honored: Option<Evidence>,
    /// Why the listener does not listen.
    pub listener: Option<String>,
    /// Members, by uid of mirror; a mirror that is missing has not been asked yet.
    pub reach: BTreeMap<String, Reach>,
    /// Files, by registry; a registry that is missing has none yet.
    pub files: BTreeMap<RegistryName, Result<(), FileProblem>>,
    /// Registries whose file somebody edited.
    pub edited: BTreeSet<RegistryName>,
}

/// A state with its reason and message.
type Verdict = (MirrorState, &'static str, String);

/// What one mirror's part amounts to on this node.
#[must_use]
pub fn state_of(part: &Part, seen: &Seen) -> NodeMirror {
    let (state, reason, message) = match &part.role {
        Role::Serves { registries, lost } => serving(part, registries, lost, seen),
        Role::Shadowed(lost) => (MirrorState::Shadowed, "Shadowed", shadowed(lost)),
        Role::ReportOnly(registries) => (
            MirrorState::Withdrawn,
            "ReportOnly",
            format!("would serve {}; set nodes.mode to Configure", list(registries)),
        ),
        Role::Withdrawn => (MirrorState::Withdrawn, "WithdrawRequested", "nodes.mode is Withdraw".to_owned()),
        Role::Excluded => (
            MirrorState::Withdrawn,
            "NodeExcluded",
            "the node has label tidepool.dev/exclude=true; remove it to use the mirror".to_owned(),
        ),
    };
    let message = message.chars().take(1024).collect();
    NodeMirror { name: part.mirror.clone(), uid: part.uid.clone(), state, reason: reason.to_owned(), message }
}

fn serving(part: &Part, registries: &[RegistryName], lost: &[(RegistryName, String)], seen: &Seen) -> Verdict {
    let unsupported = |reason, message: &str| (MirrorState::Unsupported, reason, message.to_owned());
    match &seen.support {
        Some(Support::OtherRuntime(message)) => return unsupported("RuntimeUnsupported", message),
        Some(Support::NotConfigured(message)) if seen.honored.is_none() => {
            return unsupported("RuntimeNotConfigured", message);
        }
        Some(Support::Native(message)) if seen.honored.is_none() => {
            return unsupported("NativeConfiguration", message);
        }
        None => {
            return (MirrorState::Pending, "RuntimeUnknown", "the kubelet has not reported the runtime yet".to_owned());
        }
        Some(Support::Expected | Support::Doubtful(_) | Support::NotConfigured(_) | Support::Native(_)) => {}
    }
    let problems = registries.iter().filter_map(|registry| seen.files.get(registry)?.as_ref().err());
    if let Some(problem) = problems.max_by_key(|problem| problem.unsupported) {
        let state = if problem.unsupported { MirrorState::Unsupported } else { MirrorState::Pending };
        return (state, problem.reason, problem.message.clone());
    }
    if let Some(error) = &seen.listener {
        return (MirrorState::Pending, "ListenerFailed", error.clone());
    }
    // Where the system writes them, a pull that came is all there is to know.
    let native = matches!(seen.support, Some(Support::Native(_)));
    let all_in_place = native || registries.iter().all(|registry| seen.files.contains_key(registry));
    match (seen.reach.get(&part.uid), all_in_place) {
        (Some(Reach::Up | Reach::Down { long: false, .. }) | None, true) => active(lost, seen, registries),
        (Some(Reach::Down { why, long: true }), true) => down(MirrorState::Bypassing, &part.mirror, *why),
        (Some(Reach::Down { why, .. }), false) => down(MirrorState::Pending, &part.mirror, *why),
        (Some(Reach::Up) | None, false) => {
            (MirrorState::Pending, "Writing", "files are about to be written".to_owned())
        }
    }
}

fn active(lost: &[(RegistryName, String)], seen: &Seen, registries: &[RegistryName]) -> Verdict {
    let edited: Vec<_> = registries.iter().filter(|registry| seen.edited.contains(registry)).cloned().collect();
    if !edited.is_empty() {
        let message = format!(
            "the file that names the agent for {} was edited on the node: the edit is kept, and the agent's host with it; to keep the agent away use label tidepool.dev/exclude=true",
            list(&edited)
        );
        return (MirrorState::Active, "EditKept", message);
    }
    if lost.is_empty() {
        return (MirrorState::Active, "Serving", String::new());
    }
    (MirrorState::Active, "PartlyShadowed", shadowed(lost))
}

fn down(state: MirrorState, mirror: &str, why: Trouble) -> Verdict {
    let pods = format!("look at its pods (label tidepool.dev/mirror={mirror}) and at network policies");
    let (reason, what, look) = match why {
        Trouble::NoMember => ("NoMember", "the mirror has no ready member".to_owned(), pods),
        Trouble::NoIdentity => (
            "NoIdentity",
            format!("the agent waits for its certificate for the mirror in Secret {AGENT_SECRET}"),
            "look at the operator, which writes it, and at the agent's permission to read it".to_owned(),
        ),
        Trouble::Untrusted(members) => (
            "MemberUntrusted",
            format!("none of {members} ready members proves to this node that it is one, or believes the agent"),
            "look at this node's clock, at the agent's metric tidepool_agent_tls_failures_total, and at the operator, which issues certificates"
                .to_owned(),
        ),
        Trouble::Silent(members) => (
            "MemberUnreachable",
            format!("none of {members} ready members answers this node on port {AGENTS_PORT}"),
            pods,
        ),
    };
    (state, reason, format!("{what}, so pulls go upstream; {look}"))
}

fn shadowed(lost: &[(RegistryName, String)]) -> String {
    let each: Vec<_> = lost.iter().map(|(registry, by)| format!("{registry} by {by}")).collect();
    format!(
        "served on this node: {}; the higher nodes.priority serves, then the older mirror: change one's priority, selector or upstreams",
        each.join(", ")
    )
}

fn list(registries: &[RegistryName]) -> String {
    registries.iter().map(RegistryName::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
