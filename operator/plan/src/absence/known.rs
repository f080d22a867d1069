//! What this process knows of nodes without an agent; times are since it began.

use std::{collections::BTreeMap, time::Duration};

use super::{BACK, GRACE, pod::Why};

/// By node.
#[derive(Debug, Default)]
pub struct Absences {
    away: BTreeMap<String, Away>,
    /// Since when agents are seen to be back.
    back: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct Away {
    since: Duration,
    why: Why,
    /// Since when it is that.
    so: Duration,
    /// Whether it was said of the node.
    said: bool,
    /// How often its agent said otherwise all the same: it lives, and who does not is its kubelet.
    overruled: u32,
}

impl Absences {
    /// Forgets nodes that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.away.retain(|node, _| is_there(node));
        self.back.retain(|node, _| is_there(node));
    }

    /// Notes that there is an agent of whom nobody says otherwise.
    pub(super) fn present(&mut self, node: &str) {
        self.away.remove(node);
        self.back.remove(node);
    }

    /// How long to wait until it is said that there is an agent again: it says so itself when it starts.
    pub(super) fn back(&mut self, node: &str, now: Duration) -> Duration {
        self.away.remove(node);
        let since = *self.back.entry(node.to_owned()).or_insert(now);
        (since + BACK).saturating_sub(now)
    }

    /// How long to wait until it is said that there is none, and why; `said` is whether the object says so, for whatever
    /// reason.
    pub(super) fn away(&mut self, node: &str, why: Why, said: bool, now: Duration) -> Duration {
        self.back.remove(node);
        let fresh = || Away { since: now, why, so: now, said, overruled: 0 };
        let away = self.away.entry(node.to_owned()).or_insert_with(fresh);
        if away.why != why {
            (away.why, away.so) = (why, now);
        }
        if away.said && !said {
            (away.since, away.overruled) = (now, away.overruled + 1);
        }
        away.said = said;
        let patience = GRACE.saturating_mul(1 << away.overruled.min(8));
        // Another reason must last: who fails in two ways by turns would be written all day.
        let due = if said { away.so + GRACE } else { away.since + patience };
        due.saturating_sub(now)
    }
}
