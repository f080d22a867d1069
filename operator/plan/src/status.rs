//! What was seen of a mirror, turned into the status that is published.
//!
//! A pure function of facts, the status before, and the time: a condition's transition time changes only with its
//! status, so that publishing what has not changed writes nothing.

mod cache;
mod members;
mod nodes;
mod storage;
mod summary;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidepool_api::{RegistryMirror, RegistryMirrorStatus, condition};

use crate::{Invalid, ValidMirror};

pub use cache::MemberFact;
pub use members::{Answer, Report, Reports};
pub use nodes::{NodeFact, Tally, tally};
pub use storage::{ClaimFound, ClaimState, StorageFact};

/// Reason of condition `Reconciling` while a configuration is on its way to the members.
const LOADING: &str = "LoadingConfiguration";
/// Longest message of a condition; what is longer helps nobody and does not fit in an Event.
const MESSAGE_LENGTH: usize = 900;

/// All that a mirror's status is made of.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The mirror, with the status it has.
    pub mirror: &'a RegistryMirror,
    /// What validation said.
    pub verdict: Verdict<'a>,
    /// Why the objects could not be applied, if they could not.
    pub failure: Option<String>,
    /// The operator's namespace.
    pub namespace: &'a str,
    /// What the mirror waits for before its members may be changed, if it does: they roll one mirror at a time.
    pub waiting: Option<String>,
    /// What the ready members report.
    pub reports: Reports,
    /// The members, as their Deployments and pods say.
    pub members: Vec<MemberFact>,
    /// Their claims.
    pub storage: StorageFact,
    /// Whether no StorageClass is the default one.
    pub no_default_class: bool,
    /// What its nodes report; `None` before agents have been told of it.
    pub nodes: Option<Tally>,
    /// Whether it has an Ingress.
    pub ingress: bool,
}

/// What validation said.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// The spec is valid.
    Valid(&'a ValidMirror),
    /// It is not, for these reasons; never empty.
    Invalid(&'a [Invalid]),
}

/// One condition, before it gets its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    kind: &'static str,
    holds: Holds,
    reason: String,
    message: String,
}

/// Whether what a condition says is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Unknown,
}

impl Holds {
    fn word(self) -> &'static str {
        match self {
            Self::Yes => "True",
            Self::No => "False",
            Self::Unknown => "Unknown",
        }
    }

    fn read(word: &str) -> Self {
        match word {
            "True" => Self::Yes,
            "False" => Self::No,
            _ => Self::Unknown,
        }
    }
}

impl Finding {
    fn new(kind: &'static str, holds: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        let holds = if holds { Holds::Yes } else { Holds::No };
        Self { kind, holds, reason: reason.into(), message: message.into() }
    }

    fn holds(&self) -> bool {
        self.holds == Holds::Yes
    }
}

/// The status of a mirror. `now` becomes the transition time of conditions whose status changes.
#[must_use]
pub fn status(seen: &Seen<'_>, now: &Time) -> RegistryMirrorStatus {
    let previous = seen.mirror.status.clone().unwrap_or_default();
    let conditions =
        conditions(seen, &previous).into_iter().map(|finding| stamp(finding, seen.mirror, &previous, now)).collect();
    RegistryMirrorStatus {
        observed_generation: seen.mirror.metadata.generation,
        conditions,
        address: Some(summary::address(seen, &previous)),
        members: Some(summary::members(seen, &previous)),
        registries: Some(summary::registries(seen.mirror)),
        upstreams: match seen.verdict {
            Verdict::Valid(mirror) => summary::upstreams(mirror, seen.nodes.as_ref()),
            Verdict::Invalid(_) => previous.upstreams,
        },
        nodes: seen.nodes.as_ref().map(Tally::status),
    }
}

fn conditions(seen: &Seen<'_>, previous: &RegistryMirrorStatus) -> Vec<Finding> {
    let accepted = accepted(seen.verdict);
    let storage = storage::finding(seen);
    let cache = cache::finding(&seen.members);
    let stalled = stalled(&accepted, &storage);
    let reconciling = reconciling(seen, stalled.is_some(), &cache, previous);
    let failure = reconciling.as_ref().filter(|_| seen.failure.is_some());
    let ready = ready(&accepted, failure, &storage, &cache);
    let nodes = nodes::finding(seen.nodes.as_ref());
    let (credentials, reachable) = (members::credentials(seen, previous), members::reachable(seen, previous));
    let always = [ready, accepted, cache, storage, nodes, credentials, reachable];
    always.into_iter().chain(reconciling).chain(stalled).collect()
}

fn accepted(verdict: Verdict<'_>) -> Finding {
    match verdict {
        Verdict::Valid(_) => Finding::new(condition::ACCEPTED, true, "Valid", "the spec is valid"),
        Verdict::Invalid(faults) => {
            let reason = faults.first().map(|fault| fault.reason.to_string()).unwrap_or_default();
            let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Finding::new(condition::ACCEPTED, false, reason, texts.join("; "))
        }
    }
}

/// Ready is Accepted and CacheAvailable. Upstreams have no part in it, since in an outage the cache serves; nor have
/// nodes, since one dead node must not hold up a rollout. The reason is the first cause.
fn ready(accepted: &Finding, failure: Option<&Finding>, storage: &Finding, cache: &Finding) -> Finding {
    // What the API server refuses, or a claim that nothing will ever bind, explains a missing member better than the
    // member does.
    let no_storage = !storage.holds() && storage.reason == storage::NO_DEFAULT_CLASS;
    let cause = match (accepted.holds(), cache.holds()) {
        (false, _) => accepted,
        (true, false) => failure.or(no_storage.then_some(storage)).unwrap_or(cache),
        (true, true) => return Finding::new(condition::READY, true, "Available", "the cache serves"),
    };
    Finding::new(condition::READY, false, cause.reason.clone(), cause.message.clone())
}

/// Nothing goes on until somebody mends the spec or the cluster.
fn stalled(accepted: &Finding, storage: &Finding) -> Option<Finding> {
    let no_class = !storage.holds() && storage.reason == storage::NO_DEFAULT_CLASS;
    let cause = if !accepted.holds() {
        accepted
    } else if no_class {
        storage
    } else {
        return None;
    };
    Some(Finding::new(condition::STALLED, true, cause.reason.clone(), cause.message.clone()))
}

fn reconciling(seen: &Seen<'_>, stalled: bool, cache: &Finding, previous: &RegistryMirrorStatus) -> Option<Finding> {
    let because = |reason: &str, message: String| Some(Finding::new(condition::RECONCILING, true, reason, message));
    if let Some(failure) = &seen.failure {
        return because("ApplyFailed", failure.clone());
    }
    if stalled {
        return None;
    }
    if let Some(turn) = &seen.waiting {
        return because("WaitingForTurn", turn.clone());
    }
    let former = cache::former(&seen.members);
    if cache.holds() && former.is_none() && seen.members.iter().all(|member| member.rolled_out) {
        return members::loading(&seen.reports, previous).and_then(|message| because(LOADING, message));
    }
    // Without a ready member, Ready says so already.
    match cache::hindrance(&seen.members).filter(|_| cache.holds()) {
        Some((_, name, why)) => because("RolloutFailed", format!("{name}: {why}")),
        None => because(
            "Progressing",
            format!("members are on their way to the spec{}", former.as_deref().map(stay).unwrap_or_default()),
        ),
    }
}

/// What is told of former members that serve still.
fn stay(former: &str) -> String {
    format!("; {former} of before serve until one of them does")
}

fn stamp(finding: Finding, mirror: &RegistryMirror, previous: &RegistryMirrorStatus, now: &Time) -> Condition {
    let status = finding.holds.word();
    let before = previous.conditions.iter().find(|condition| condition.type_ == finding.kind);
    let since = before.filter(|condition| condition.status == status).map(|condition| &condition.last_transition_time);
    Condition {
        type_: finding.kind.to_owned(),
        status: status.to_owned(),
        reason: finding.reason,
        message: cut(finding.message),
        observed_generation: mirror.metadata.generation,
        last_transition_time: since.unwrap_or(now).clone(),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MESSAGE_LENGTH {
        let end = (0..=MESSAGE_LENGTH).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}
