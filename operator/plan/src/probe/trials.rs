//! The probes that were made: when a node is due again, and which pods do not go.

use std::{collections::BTreeMap, time::Duration};

use tidepool_api::{MirrorNode, Runtime, honored};

use super::{Act, ProbePod, SELDOM, name, runtime, stands, was_judged};

/// How long a node that was probed is left alone; doubled each time up to [`SELDOM`].
const AGAIN: Duration = Duration::from_secs(600);
/// The same where the last probe came to nothing, which says nothing of the runtime.
const FAILED: Duration = Duration::from_secs(3600);
/// How long a node is left alone whatever changes on it.
const CALM: Duration = Duration::from_secs(60);
/// How long a pod may take to go. A kubelet that is dead never lets it go.
pub(super) const GOING: Duration = Duration::from_secs(60);

/// The probes that this process knows of, by node; times are since it began.
#[derive(Debug, Default)]
pub struct Trials {
    of: BTreeMap<String, Trial>,
    /// Since when pods are seen going.
    going: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct Trial {
    since: Duration,
    times: u32,
    /// Since when its pull is seen to fail.
    failing: Option<Duration>,
    /// The runtime that was probed. Another one is probed anew.
    of: Option<Runtime>,
}

impl Trials {
    /// Forgets nodes that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.of.retain(|node, _| is_there(node));
    }

    /// The less, the sooner it is a node's turn: who was never asked comes first.
    pub(super) fn urgency(&self, node: &MirrorNode) -> Option<(u32, Duration)> {
        self.of.get(name(node)).map(|trial| (trial.times, trial.since))
    }

    /// For how long a probe goes on, or, where its pull fails, for how long it has been seen to fail.
    pub(super) fn age(&mut self, node: &MirrorNode, fails: bool, now: Duration) -> Duration {
        // A process that began after the pod counts from when it first saw it.
        let trial = self.of(node, now);
        let since = if fails { *trial.failing.get_or_insert(now) } else { trial.since };
        now.saturating_sub(since)
    }

    pub(super) fn begin(&mut self, node: &MirrorNode, now: Duration) {
        let before = self.of.get(name(node)).filter(|trial| trial.of == runtime(node));
        let times = before.map_or(0, |trial| trial.times + 1);
        let trial = Trial { since: now, times, failing: None, of: runtime(node) };
        self.of.insert(name(node).to_owned(), trial);
    }

    /// Forgets a probe that was not made, for reasons of the API server's: it is due again at once.
    pub fn not_begun(&mut self, node: &str) {
        self.of.remove(node);
    }

    /// Notes that the agent knows by itself now: a doubt that comes later is another, though the runtime be the same.
    pub(super) fn settled(&mut self, node: &MirrorNode) {
        if let Some(trial) = self.of.get_mut(name(node)) {
            trial.of = None;
        }
    }

    fn of(&mut self, node: &MirrorNode, now: Duration) -> &mut Trial {
        let fresh = || Trial { since: now, times: 0, failing: None, of: runtime(node) };
        self.of.entry(name(node).to_owned()).or_insert_with(fresh)
    }

    /// How long a node without a pod waits for its probe.
    pub(super) fn wait(&mut self, node: &MirrorNode, now: Duration) -> Duration {
        if !self.of.contains_key(name(node)) {
            if stands(node) == Some(honored::PROBING) {
                // Another process's probe is over, and the agent's report may be on its way. What was probed nobody knows.
                self.of.insert(name(node).to_owned(), Trial { since: now, times: 0, failing: None, of: None });
            } else if !was_judged(node) {
                return Duration::ZERO;
            }
        }
        let of = runtime(node);
        let seldom = if stands(node) == Some(honored::PROBE_FAILED) { FAILED } else { SELDOM };
        // What another process found out is not asked again at once: a take-over changes nothing.
        let trial = self.of(node, now);
        let pause = if trial.of == of { AGAIN.saturating_mul(1 << trial.times.min(8)).min(seldom) } else { CALM };
        (trial.since + pause).saturating_sub(now)
    }

    /// How many pods do not go: their kubelets are dead. They are removed without them.
    pub(super) fn stuck(&mut self, pods: &[ProbePod], now: Duration, acts: &mut Vec<Act>) -> usize {
        let going: Vec<_> = pods.iter().filter(|pod| pod.ending).collect();
        self.going.retain(|name, _| going.iter().any(|pod| pod.name == *name));
        let mut stuck = 0;
        for pod in going {
            let since = *self.going.entry(pod.name.clone()).or_insert(now);
            if now.saturating_sub(since) >= GOING {
                stuck += 1;
                acts.push(Act::End { node: pod.node.clone(), pod: pod.name.clone(), now: true });
            }
        }
        stuck
    }
}
