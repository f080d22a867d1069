//! Which nodes are probed, and what is learned: a short-lived pod on the node, whose image only the node's agent has
//! (design N5). Bounded: so many at once in the whole cluster, each for so long, and each node ever more seldom.

mod outcome;
mod pod;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidepool_api::{MirrorNode, MirrorNodeStatus, MirrorState, Runtime, honored, mirror_node_condition as condition};

pub use outcome::Outcome;
pub use pod::{PROBE_LABEL, probe_pod, probe_pod_name};

/// How long a pull that fails is tried: the kubelet has had its second try by then, should the agent have been away at
/// the first.
const TRIES: Duration = Duration::from_secs(25);
/// How long a probe may take in all.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a node that was probed is left alone; doubled each time up to [`SELDOM`].
const AGAIN: Duration = Duration::from_secs(600);
/// At most.
const SELDOM: Duration = Duration::from_secs(6 * 3600);
/// How long a node is left alone whatever changes on it.
const CALM: Duration = Duration::from_secs(60);

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
    /// Take the pod away.
    End(String),
    /// Say this in the node's condition `Honored`.
    Say(String, Saying),
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

/// The probes that this process knows of, by node; times are since it began.
#[derive(Debug, Default)]
pub struct Trials(BTreeMap<String, Trial>);

#[derive(Debug)]
struct Trial {
    since: Duration,
    times: u32,
    /// The runtime that was probed. Another one is probed anew.
    of: Option<Runtime>,
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
    trials.0.retain(|node, _| by_name.contains_key(node.as_str()));
    let (mut acts, mut next) = (Vec::new(), SELDOM);
    for pod in pods.iter().filter(|pod| !pod.ending) {
        next = next.min(judge(pod, by_name.get(pod.node.as_str()).copied(), trials, now, &mut acts));
    }
    let mut room = at_once.saturating_sub(pods.len());
    for node in nodes.iter().filter(|node| at_once > 0 && wants(node)) {
        if pods.iter().any(|pod| pod.node == name(node)) {
            continue;
        }
        let wait = trials.wait(node, now);
        if wait > Duration::ZERO {
            next = next.min(wait);
        } else if room > 0 {
            room -= 1;
            trials.begin(node, now);
            next = next.min(TRIES);
            acts.push(Act::Start(name(node).to_owned()));
            say(node, probing(), &mut acts);
        }
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
    let end = Act::End(pod.name.clone());
    let Some(node) = node.filter(|node| wants(node)) else {
        acts.push(end);
        return SELDOM;
    };
    // A process that began after the pod counts from when it first saw it.
    let age = now.saturating_sub(trials.of(node, now).since);
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
            acts.push(end);
            SELDOM
        }
        None => {
            say(node, probing(), acts);
            let due = if matches!(pod.outcome, Outcome::PullFailed(_)) { TRIES } else { LIMIT };
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

impl Trials {
    fn begin(&mut self, node: &MirrorNode, now: Duration) {
        let times = self.0.get(name(node)).filter(|trial| trial.of == runtime(node)).map_or(0, |trial| trial.times + 1);
        self.0.insert(name(node).to_owned(), Trial { since: now, times, of: runtime(node) });
    }

    fn of(&mut self, node: &MirrorNode, now: Duration) -> &Trial {
        let fresh = || Trial { since: now, times: 0, of: runtime(node) };
        self.0.entry(name(node).to_owned()).or_insert_with(fresh)
    }

    /// How long a node without a pod waits for its probe.
    fn wait(&mut self, node: &MirrorNode, now: Duration) -> Duration {
        if !self.0.contains_key(name(node)) && !was_judged(node) {
            return Duration::ZERO;
        }
        let of = runtime(node);
        // What another process found out is not asked again at once: a take-over changes nothing.
        let trial = self.of(node, now);
        let pause = if trial.of == of { AGAIN.saturating_mul(1 << trial.times.min(8)).min(SELDOM) } else { CALM };
        (trial.since + pause).saturating_sub(now)
    }
}

fn was_judged(node: &MirrorNode) -> bool {
    let honored = node.status.as_ref().and_then(|status| find(status, condition::HONORED));
    honored.is_some_and(|honored| [honored::NOT_HONORED, honored::PROBE_FAILED].contains(&honored.reason.as_str()))
}

/// Says it, unless the object does already, or says something firmer than that a probe is under way.
fn say(node: &MirrorNode, saying: Saying, acts: &mut Vec<Act>) {
    let stands = node.status.as_ref().and_then(|status| find(status, condition::HONORED));
    let is_so = |stands: &Condition| stands.reason == saying.reason && stands.message == saying.message;
    let is_firmer = saying.reason == honored::PROBING && was_judged(node);
    if !stands.is_some_and(is_so) && !is_firmer {
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
        "no probe pod could run on this node ({why}), so whether its runtime uses the mirror shows with its first pull; it is tried again in some minutes"
    );
    Saying { status: "Unknown", reason: honored::PROBE_FAILED, message }
}

fn not_honored(node: &MirrorNode, why: &str) -> Saying {
    let why: String = why.chars().take(200).collect();
    let advice = runtime(node).and_then(|runtime| runtime.advice).unwrap_or_else(|| {
        "its configuration looks right, so restart containerd if that was changed after it started, and see that it runs with that file"
            .to_owned()
    });
    let message = format!("pulls of this node go past the mirror: {advice}. A probe pod's pull ended with: {why}");
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
