//! Nodes without an agent: nobody speaks for them, and what was last said may be so no more. The operator says so, with the
//! reason that the agent's pod gives, and takes it back when the agent is there again.
//!
//! Two write one condition, and neither can bury the other's word for good. An agent that runs and says itself what is
//! wrong is not talked over. One that starts reads what stands there, and says its own over it; so does, some minutes
//! later, one that went on all the time, since its kubelet alone was away: of that one the operator repeats before what it
//! had said, if the operator still knows. It keeps to itself for ever longer where such an agent writes over its word.
//! Both write over what they have read and nothing later.

mod known;
mod pod;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidepool_api::{MirrorNode, mirror_node_condition as condition, ready};

pub use known::Absences;
use pod::Why;
pub use pod::{Absent, AgentPod};

/// How long no pod of an agent is ready on a node until that is said: what restarts is no news.
const GRACE: Duration = Duration::from_secs(60);
/// How long an agent is back until the operator takes its word back, where the agent has not done so: longer than the
/// agents of the largest cluster wait with a report.
const BACK: Duration = Duration::from_secs(150);
/// How much is said at a time, and how long until more is: a cluster that loses its power is no reason for 5,000 writes
/// at once.
const AT_ONCE: usize = 20;
const PAUSE: Duration = Duration::from_secs(2);
/// Until something changes.
const SELDOM: Duration = Duration::from_secs(3600);
/// What the cluster said of a pod follows these words. It is not written again for that alone.
const SAYS: &str = ". The cluster says: ";

/// What the operator says of a node's condition `Ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The node.
    pub node: String,
    /// Status of the condition.
    pub status: String,
    /// Its reason.
    pub reason: String,
    /// With the remedy.
    pub message: String,
}

/// What to say now, and when to look again at the latest.
#[must_use]
pub fn absences(
    nodes: &[&MirrorNode],
    pods: &[&AgentPod],
    known: &mut Absences,
    now: Duration,
) -> (Vec<Word>, Duration) {
    let pods = Pods::of(pods);
    let names: BTreeSet<_> = nodes.iter().map(|node| name(node)).collect();
    known.retain(|node| names.contains(node));
    let (mut words, mut next) = (Vec::new(), SELDOM);
    for node in nodes.iter().filter(|node| node.metadata.deletion_timestamp.is_none()) {
        let (word, wait) = match pods.absent(name(node)) {
            Some(absent) => away(node, &absent, known, now),
            None => present(node, known, now),
        };
        if word.is_none() {
            known.settled(name(node));
        }
        // One whose word does not come to stand is in nobody's way.
        let wait = wait.max(known.tried(name(node), now));
        if wait.is_zero() {
            words.extend(word);
        } else {
            next = next.min(wait);
        }
    }
    let next = next.min(give(&mut words, known, now));
    (words, next)
}

/// Keeps what may be said now, however often it is asked; how long until more may be.
fn give(words: &mut Vec<Word>, known: &mut Absences, now: Duration) -> Duration {
    if words.is_empty() {
        return SELDOM;
    }
    let pause = known.pause(now);
    if !pause.is_zero() {
        words.clear();
        return pause;
    }
    let all = words.len() <= AT_ONCE;
    words.truncate(AT_ONCE);
    known.give(words, now);
    if all { known::AGAIN } else { PAUSE }
}

/// The pods of each node.
struct Pods<'a>(BTreeMap<&'a str, Vec<&'a AgentPod>>);

impl<'a> Pods<'a> {
    fn of(pods: &[&'a AgentPod]) -> Self {
        let mut by_node = BTreeMap::<_, Vec<_>>::new();
        for pod in pods {
            by_node.entry(pod.node.as_str()).or_default().push(*pod);
        }
        Self(by_node)
    }

    /// Why there is no agent on a node; none if there is one. An agent that goes while the next one is made is there.
    fn absent(&self, node: &str) -> Option<Absent> {
        let none = Absent { why: Why::NoPod, says: String::new() };
        let Some(pods) = self.0.get(node) else { return Some(none) };
        if pods.iter().any(|pod| pod.absent.is_none()) {
            return None;
        }
        let telling = pods.iter().max_by_key(|pod| (!pod.ending, pod.absent.as_ref().map(|absent| absent.why)));
        telling.map_or(Some(none), |pod| pod.absent.clone())
    }
}

/// There is no agent: what to say of that, and how long to wait with it.
fn away(node: &MirrorNode, absent: &Absent, known: &mut Absences, now: Duration) -> (Option<Word>, Duration) {
    let stands = stands(node);
    if stands.is_some_and(|stands| speaks_for_itself(stands, absent.why)) {
        known.present(name(node));
        return (None, SELDOM);
    }
    let (why, wait) = known.away(name(node), absent.why, stands, now);
    let message = message(why, &absent.says);
    let is_told = |stands: &Condition| is_ours(stands) && gist(&stands.message) == gist(&message);
    if stands.is_some_and(is_told) {
        return (None, SELDOM);
    }
    (Some(word(node, "Unknown", ready::AGENT_NOT_READY, &message)), wait)
}

/// There is an agent: what was said of its absence is taken back, unless it says something itself. What nobody said is not
/// said then either.
fn present(node: &MirrorNode, known: &mut Absences, now: Duration) -> (Option<Word>, Duration) {
    if !stands(node).is_some_and(is_ours) {
        known.present(name(node));
        return (None, SELDOM);
    }
    let Some((before, wait)) = known.back(name(node), now) else { return (None, SELDOM) };
    (Some(word(node, &before.status, &before.reason, &before.message)), wait)
}

/// Whether the operator said it.
fn is_ours(stands: &Condition) -> bool {
    stands.reason == ready::AGENT_NOT_READY
}

/// Whether an agent that is not ready has said why. One that was taken away for good has, until there is another pod; one
/// that runs knows better than its pod.
fn speaks_for_itself(stands: &Condition, why: Why) -> bool {
    match why {
        Why::NoPod => stands.reason == ready::AGENT_STOPPED,
        Why::NotReady => stands.status == "False" && stands.reason != ready::AGENT_STOPPED,
        _ => false,
    }
}

fn word(node: &MirrorNode, status: &str, reason: &str, message: &str) -> Word {
    let (status, reason, message) = (status.to_owned(), reason.to_owned(), message.to_owned());
    Word { node: name(node).to_owned(), status, reason, message }
}

fn message(why: Why, says: &str) -> String {
    let meanwhile = match why {
        Why::KubeletAway => "",
        _ => "; its pulls go to the registries meanwhile",
    };
    let says: String = says.chars().take(400).collect();
    let says = if says.is_empty() { says } else { format!("{SAYS}{says}") };
    format!("{}{meanwhile}{says}", why.sentence())
}

fn gist(message: &str) -> &str {
    message.split(SAYS).next().unwrap_or_default()
}

/// Condition `Ready`, whoever said it.
fn stands(node: &MirrorNode) -> Option<&Condition> {
    node.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == condition::READY)
}

fn name(node: &MirrorNode) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}
