//! Which nodes are probed, and what is learned: a short-lived pod on the node, whose image only the node's agent has
//! (design N5). Bounded: so many at once in the whole cluster, each for so long, and each node ever more seldom.

mod outcome;
mod pod;
#[cfg(test)]
mod tests;
mod trials;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidepool_api::{MirrorNode, MirrorNodeStatus, MirrorState, Runtime, honored, mirror_node_condition as condition};

pub use outcome::Outcome;
pub(crate) use outcome::PULL_FAILED;
pub use pod::{PROBE_LABEL, probe_pod, probe_pod_name};
pub use trials::Trials;

/// How long a pull that failed is tried on: the kubelet has had its second try by then, should the agent have been away
/// at the first.
const TRIES: Duration = Duration::from_secs(20);
/// How long a probe may take in all.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a node that was probed is left alone at most.
const SELDOM: Duration = Duration::from_secs(6 * 3600);
/// What the runtime said of a pull follows these words. It has other words each time, of the same thing.
const ENDED_WITH: &str = ". A probe pod's pull ended with: ";

/// A probe pod that is there.
#[derive(Clone, Debug)]
pub struct ProbePod {
    /// Its name.
    pub name: String,
    /// The node it is on.
    pub node: String,
    /// Whether it is going already.
    pub ending: bool,
    /// What became of it so far.
    pub outcome: Outcome,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Start a probe pod on the node.
    Start(String),
    /// Take a pod away.
    End {
        /// The node it is on.
        node: String,
        /// Its name.
        pod: String,
        /// Whether without asking the node's kubelet.
        now: bool,
    },
    /// Say this in the node's condition `Honored`.
    Say(String, Saying),
}

impl Act {
    /// The node that it is about. The acts of one node follow from each other.
    #[must_use]
    pub fn node(&self) -> &str {
        match self {
            Self::Start(node) | Self::Say(node, _) | Self::End { node, .. } => node,
        }
    }
}

/// What the operator says of `Honored`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// `Unknown` or `False`.
    pub status: &'static str,
    /// One of [`tidepool_api::honored`].
    pub reason: &'static str,
    /// With the remedy.
    pub message: String,
}

impl Saying {
    /// That no probe pod could be started.
    #[must_use]
    pub fn refused(why: &str) -> Self {
        failed(why)
    }
}

/// What to do now, and when to look again at the latest. `at_once` 0 means no probes at all.
#[must_use]
pub fn probes(
    nodes: &[&MirrorNode],
    pods: &[ProbePod],
    trials: &mut Trials,
    now: Duration,
    at_once: usize,
) -> (Vec<Act>, Duration) {
    let by_name: BTreeMap<&str, &MirrorNode> = nodes.iter().map(|node| (name(node), *node)).collect();
    trials.retain(|node| by_name.contains_key(node));
    let (mut acts, mut next) = (Vec::new(), SELDOM);
    let stuck = trials.stuck(pods, now, &mut acts);
    if pods.iter().any(|pod| pod.ending) {
        next = trials::GOING;
    }
    for pod in pods.iter().filter(|pod| !pod.ending) {
        next = next.min(judge(pod, by_name.get(pod.node.as_str()).copied(), trials, now, &mut acts));
    }
    let free = nodes.iter().copied().filter(|node| pods.iter().all(|pod| pod.node != name(node)));
    let (wanting, others): (Vec<_>, Vec<_>) = free.partition(|node| at_once > 0 && wants(node));
    for node in others {
        if stands(node) == Some(honored::PROBING) {
            say(node, failed("the probe was given up"), &mut acts);
        }
        if is_known(node) {
            trials.settled(node);
        }
    }
    let mut due = Vec::new();
    for node in wanting {
        match trials.wait(node, now) {
            Duration::ZERO => due.push(node),
            wait => next = next.min(wait),
        }
    }
    due.sort_by_key(|node| trials.urgency(node));
    for node in due.into_iter().take(at_once.saturating_sub(pods.len() - stuck)) {
        trials.begin(node, now);
        next = next.min(TRIES);
        acts.push(Act::Start(name(node).to_owned()));
        say(node, probing(), &mut acts);
    }
    (acts, next)
}

/// Judges a pod: ends it when it has told what it can. When to look again.
fn judge(
    pod: &ProbePod,
    node: Option<&MirrorNode>,
    trials: &mut Trials,
    now: Duration,
    acts: &mut Vec<Act>,
) -> Duration {
    let end = |now| Act::End { node: pod.node.clone(), pod: pod.name.clone(), now };
    let Some(node) = node.filter(|node| wants(node)) else {
        if let Some(node) = node.filter(|node| stands(node) == Some(honored::PROBING)) {
            say(node, failed("the agent was not ready for it any more"), acts);
        }
        acts.push(end(false));
        return SELDOM;
    };
    let fails = matches!(pod.outcome, Outcome::PullFailed(_));
    let age = trials.age(node, fails, now);
    let over = match &pod.outcome {
        // The agent says so in its next report.
        Outcome::Pulled => Some(None),
        Outcome::PullFailed(why) => (age >= TRIES).then(|| Some(not_honored(node, why))),
        Outcome::Refused(why) => Some(Some(failed(why))),
        Outcome::Waiting => (age >= LIMIT).then(|| Some(failed("the node's kubelet did not start it"))),
    };
    match over {
        Some(saying) => {
            if let Some(saying) = saying {
                say(node, saying, acts);
            }
            // A kubelet that did not start it may be dead, and would never let it go.
            acts.push(end(pod.outcome == Outcome::Waiting));
            SELDOM
        }
        None => {
            say(node, probing(), acts);
            let due = if fails { TRIES } else { LIMIT };
            due.saturating_sub(age)
        }
    }
}

/// Whether a probe would tell anything: files are in place, and nobody knows yet.
fn wants(node: &MirrorNode) -> bool {
    let Some(status) = &node.status else { return false };
    let ready = find(status, condition::READY).is_some_and(|ready| ready.status == "True");
    let active = status.mirrors.iter().any(|mirror| mirror.state == MirrorState::Active);
    let open = find(status, condition::HONORED)
        .is_none_or(|honored| honored.reason == honored::UNPROVEN || honored::is_the_operators(&honored.reason));
    // CRI-O takes pulls by tag past its mirrors by default, and would look as if it took all of them.
    let probed = status.runtime.as_ref().is_some_and(|runtime| runtime.name == "containerd");
    ready && active && open && probed && node.metadata.deletion_timestamp.is_none()
}

/// Whether the agent says, one way or the other.
fn is_known(node: &MirrorNode) -> bool {
    stands(node).is_some_and(|reason| reason != honored::UNPROVEN && !honored::is_the_operators(reason))
}

/// Reason of condition `Honored`.
fn stands(node: &MirrorNode) -> Option<&str> {
    Some(find(node.status.as_ref()?, condition::HONORED)?.reason.as_str())
}

fn was_judged(node: &MirrorNode) -> bool {
    [honored::NOT_HONORED, honored::PROBE_FAILED].map(Some).contains(&stands(node))
}

/// Says it, unless the object does already, or says something firmer: a verdict stands until there is another.
fn say(node: &MirrorNode, saying: Saying, acts: &mut Vec<Act>) {
    let known = node.status.as_ref().and_then(|status| find(status, condition::HONORED));
    let gist = |message: &str| message.split(ENDED_WITH).next().map(str::to_owned);
    let is_so = |known: &Condition| known.reason == saying.reason && gist(&known.message) == gist(&saying.message);
    let is_firmer = match saying.reason {
        honored::PROBING => was_judged(node),
        honored::PROBE_FAILED => stands(node) == Some(honored::NOT_HONORED),
        _ => false,
    };
    if !known.is_some_and(is_so) && !is_firmer {
        acts.push(Act::Say(name(node).to_owned(), saying));
    }
}

fn probing() -> Saying {
    let message = "a pod with an image that only this node's agent has is tried on the node".to_owned();
    Saying { status: "Unknown", reason: honored::PROBING, message }
}

fn failed(why: &str) -> Saying {
    let why: String = why.chars().take(400).collect();
    let message = format!(
        "no probe pod could run on this node ({why}), so whether its runtime uses the mirror shows with its first pull; it is tried again within the hour"
    );
    Saying { status: "Unknown", reason: honored::PROBE_FAILED, message }
}

fn not_honored(node: &MirrorNode, why: &str) -> Saying {
    let why: String = why.chars().take(200).collect();
    let advice = runtime(node).and_then(|runtime| runtime.advice).unwrap_or_else(|| {
        "its configuration looks right, so restart containerd if that was changed after it started, and see that it runs with that file"
            .to_owned()
    });
    let message = format!("pulls of this node go past the mirror: {advice}{ENDED_WITH}{why}");
    Saying { status: "False", reason: honored::NOT_HONORED, message: message.chars().take(1024).collect() }
}

fn name(node: &MirrorNode) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn runtime(node: &MirrorNode) -> Option<Runtime> {
    node.status.as_ref()?.runtime.clone()
}

fn find<'a>(status: &'a MirrorNodeStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}
