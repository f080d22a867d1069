//! When a report may go out (design N8): soon where nodes are few, and spread where thousands learn the same thing at once.
//!
//! Each node knows from the document how many there are, and waits at random. So all of them together write some 42 times
//! a second for one change of the cluster, be they a hundred or five thousand, and less than 85 times when a second change
//! comes upon the first. With few nodes a change is told within two seconds.

use std::time::Duration;

use tokio::time::Instant;

/// What each node adds to the time in which all of them tell of one change: it makes 42 writes a second.
const SHARE: Duration = Duration::from_millis(24);
/// The longest such time: that of 5,000 nodes, where Kubernetes itself ends.
const WIDEST: Duration = Duration::from_secs(120);
/// The shortest, but for an agent's first report, which somebody waits for: changes come in bursts, and one write can
/// tell them all.
const BURST: Duration = Duration::from_secs(2);
/// What each node adds to the time between two reports of a node: 30 s with 5,000.
const APART: Duration = Duration::from_millis(6);
/// A node's reports are this far apart in the long run, however few nodes there are.
const EACH: Duration = Duration::from_secs(30);
/// So many may come sooner: a new mirror is pending first, then active, and then it is proven.
const AT_ONCE: u32 = 4;

/// What one node wrote, and so when it may write again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// When all that was written will be paid for, at one report every [`EACH`].
    paid: Option<Instant>,
}

impl Pace {
    /// How long to wait with what is to be told now, in a cluster of so many nodes. `chance` is from 0 to 1.
    pub(super) fn wait(&self, nodes: u32, now: Instant, chance: f64) -> Duration {
        let narrowest = if self.last.is_none() { Duration::ZERO } else { BURST };
        let spread = SHARE.saturating_mul(nodes).clamp(narrowest, WIDEST).mul_f64(chance);
        let apart = APART.saturating_mul(nodes).min(EACH);
        let since_last = self.last.map_or(Duration::ZERO, |last| (last + apart).saturating_duration_since(now));
        let unpaid = self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now));
        spread.max(since_last).max(unpaid.saturating_sub(EACH * (AT_ONCE - 1)))
    }

    /// Notes that a report was written.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.last = Some(now);
        self.paid = Some(self.paid.map_or(now, |paid| paid.max(now)) + EACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_report_comes_soon_and_the_next_within_two_seconds_where_nodes_are_few() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(64, now, 0.0), Duration::ZERO);
        assert!(pace.wait(64, now, 1.0) < BURST);
        pace.wrote(now);
        assert_eq!(pace.wait(64, now, 1.0), BURST);
    }

    #[test]
    fn five_thousand_nodes_take_two_minutes_and_each_leaves_half_a_minute_between_its_reports() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(5000, now, 1.0), WIDEST);
        assert_eq!(pace.wait(8192, now, 0.5), WIDEST / 2);
        pace.wrote(now);
        assert_eq!(pace.wait(5000, now, 0.1), EACH);
    }

    #[test]
    fn a_node_that_changes_its_mind_all_the_time_writes_twice_a_minute() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut writes) = (start, 0);
        while now < start + Duration::from_secs(3600) {
            now += pace.wait(64, now, 0.1);
            pace.wrote(now);
            writes += 1;
        }
        assert!((120..=124).contains(&writes), "{writes} in an hour");
    }
}
