//! What this process knows of nodes without an agent; times are since it began.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidepool_api::ready;

use super::{BACK, GRACE, PAUSE, Word, pod::Why};

/// How long an agent that ended may run without being ready until it counts as one that stays.
const BETWEEN_ENDS: Duration = Duration::from_secs(600);
/// How long a word that did not come to stand is left alone; doubled each time up to an hour.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// By node.
#[derive(Debug, Default)]
pub struct Absences {
    of: BTreeMap<String, Absence>,
    tried: BTreeMap<String, Tried>,
    /// When anything was said last.
    spoke: Option<Duration>,
}

#[derive(Debug)]
struct Absence {
    since: Duration,
    why: Why,
    /// Since when it is that.
    so: Duration,
    /// When its agent was last seen to have ended.
    ended: Option<Duration>,
    /// Whether it was said of the node.
    said: bool,
    /// How often its agent said otherwise all the same: it lives, and who does not is its kubelet.
    overruled: u32,
    /// What an agent that goes on said before; none of one that begins anew, and says so.
    displaced: Option<Condition>,
    /// Since when the agent is seen to be back.
    back: Option<Duration>,
}

#[derive(Debug)]
struct Tried {
    times: u32,
    until: Duration,
}

impl Absences {
    /// Forgets nodes that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.of.retain(|node, _| is_there(node));
        self.tried.retain(|node, _| is_there(node));
    }

    /// Notes that there is an agent of whom nobody says otherwise, or that speaks for itself.
    pub(super) fn present(&mut self, node: &str) {
        self.of.remove(node);
    }

    /// What to say again of an agent that is back, and how long to wait with it; none if it says so itself.
    pub(super) fn back(&mut self, node: &str, now: Duration) -> Option<(Condition, Duration)> {
        let absence = self.of.get_mut(node)?;
        let since = *absence.back.get_or_insert(now);
        Some((absence.displaced.clone()?, (since + BACK).saturating_sub(now)))
    }

    /// Why there is no agent, and how long to wait until that is said; `stands` is what the object says.
    pub(super) fn away(&mut self, node: &str, why: Why, stands: Option<&Condition>, now: Duration) -> (Why, Duration) {
        let absence = self.of.entry(node.to_owned()).or_insert_with(|| Absence::new(why, now));
        absence.is(why, now);
        absence.stands(stands, why.goes_on(), now);
        // Another reason must last: who fails in two ways by turns would be written all day.
        let due = if absence.said { absence.so + GRACE } else { absence.since + absence.patience() };
        (absence.why, due.saturating_sub(now))
    }

    /// How long to leave a node alone whose word was given before and does not stand.
    pub(super) fn tried(&self, node: &str, now: Duration) -> Duration {
        self.tried.get(node).map_or(Duration::ZERO, |tried| tried.until.saturating_sub(now))
    }

    /// Notes that there is nothing to say of a node.
    pub(super) fn settled(&mut self, node: &str) {
        self.tried.remove(node);
    }

    /// How long until more may be said.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        self.spoke.map_or(Duration::ZERO, |spoke| (spoke + PAUSE).saturating_sub(now))
    }

    /// Notes that these are given.
    pub(super) fn give(&mut self, words: &[Word], now: Duration) {
        self.spoke = Some(now);
        for word in words {
            let times = self.tried.get(&word.node).map_or(0, |tried| tried.times);
            let until = now + AGAIN.saturating_mul(1 << times.min(8)).min(Duration::from_secs(3600));
            self.tried.insert(word.node.clone(), Tried { times: times + 1, until });
        }
    }
}

impl Absence {
    fn new(why: Why, now: Duration) -> Self {
        Self { since: now, why, so: now, ended: None, said: false, overruled: 0, displaced: None, back: None }
    }

    /// Notes why. Between two ends an agent runs for a while.
    fn is(&mut self, why: Why, now: Duration) {
        self.back = None;
        if why == Why::Crashing {
            self.ended = Some(now);
        }
        let is_between = why == Why::NotReady && self.ended.is_some_and(|ended| now < ended + BETWEEN_ENDS);
        let why = if is_between { Why::Crashing } else { why };
        if self.why == Why::KubeletAway && why != self.why {
            // What its kubelet tells, now that it is back, is new.
            self.since = now;
        }
        if self.why != why {
            (self.why, self.so, self.overruled) = (why, now, 0);
        }
    }

    fn stands(&mut self, stands: Option<&Condition>, goes_on: bool, now: Duration) {
        let said = stands.is_some_and(|stands| stands.reason == ready::AGENT_NOT_READY);
        if self.said && !said {
            (self.since, self.overruled) = (now, self.overruled + 1);
        }
        self.said = said;
        match (goes_on, said) {
            (false, _) => self.displaced = None,
            (true, false) => self.displaced = stands.cloned(),
            (true, true) => {}
        }
    }

    /// The agent of a node whose kubelet alone is away writes over every word.
    fn patience(&self) -> Duration {
        let overruled = if self.why == Why::KubeletAway { self.overruled } else { 0 };
        GRACE.saturating_mul(1 << overruled.min(8))
    }
}
