//! Nodes without an agent: nobody speaks for them, and what was last said may be so no more. The operator says so, with the
//! reason that the agent's pod gives, and takes it back when the agent is there again.
//!
//! Two write one condition, and neither can bury the other's word for good. An agent that starts reads what stands there,
//! and says its own over it. Of one that went on all the time, since its kubelet alone was away, the operator says again
//! what its mirrors, which are left as they were, come to. It keeps to itself for ever longer where an agent says that it
//! is there though its pod is not ready. Both write over what they have read and nothing later.

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
/// How long an agent is back until the operator takes its word back, where the agent has not done so.
const BACK: Duration = Duration::from_secs(10);
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
    pub status: &'static str,
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
        next = next.min(wait);
        words.extend(word);
    }
    if words.len() > AT_ONCE {
        words.truncate(AT_ONCE);
        next = PAUSE;
    }
    (words, next)
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

/// There is no agent: says so, in time, and anew when there is another reason.
fn away(node: &MirrorNode, absent: &Absent, known: &mut Absences, now: Duration) -> (Option<Word>, Duration) {
    let stands = stands(node);
    let reason = stands.map(|stands| stands.reason.as_str());
    // It was taken away for good: it has said so, and nobody expects another.
    if reason == Some(ready::AGENT_STOPPED) && absent.why == Why::NoPod {
        known.present(name(node));
        return (None, SELDOM);
    }
    let said = reason == Some(ready::AGENT_NOT_READY);
    let wait = known.away(name(node), absent.why, said, now);
    let message = message(absent);
    if said && stands.is_some_and(|stands| gist(&stands.message) == gist(&message)) {
        return (None, SELDOM);
    }
    let word =
        || Word { node: name(node).to_owned(), status: "Unknown", reason: ready::AGENT_NOT_READY.into(), message };
    if wait.is_zero() { (Some(word()), SELDOM) } else { (None, wait) }
}

/// There is an agent: what was said of its absence is taken back, unless it says something itself.
fn present(node: &MirrorNode, known: &mut Absences, now: Duration) -> (Option<Word>, Duration) {
    if stands(node).is_none_or(|stands| stands.reason != ready::AGENT_NOT_READY) || !has_reported(node) {
        known.present(name(node));
        return (None, SELDOM);
    }
    let wait = known.back(name(node), now);
    if !wait.is_zero() {
        return (None, wait);
    }
    let (status, reason, message) =
        ready::of_mirrors(node.status.as_ref().map(|status| &*status.mirrors).unwrap_or_default());
    (Some(Word { node: name(node).to_owned(), status, reason, message }), SELDOM)
}

fn message(absent: &Absent) -> String {
    let sentence = absent.why.sentence();
    let meanwhile = match absent.why {
        Why::KubeletAway => "",
        _ => "; its pulls go to the registries meanwhile",
    };
    let says: String = absent.says.chars().take(400).collect();
    let says = if says.is_empty() { says } else { format!("{SAYS}{says}") };
    format!("{sentence}{meanwhile}{says}")
}

fn gist(message: &str) -> &str {
    message.split(SAYS).next().unwrap_or_default()
}

/// Whether an agent ever did. What the operator says alone needs no taking back: the agent's first report does.
fn has_reported(node: &MirrorNode) -> bool {
    node.status.as_ref().is_some_and(|status| status.runtime.is_some() || !status.mirrors.is_empty())
}

/// Condition `Ready`, whoever said it.
fn stands(node: &MirrorNode) -> Option<&Condition> {
    node.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == condition::READY)
}

fn name(node: &MirrorNode) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}
