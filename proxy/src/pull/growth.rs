//! How many connections a fill should have: more while that makes it faster.
//!
//! An upstream that limits each connection, as many do, gives several times as much to several. Where the link is the
//! limit, more connections only cost: so one is tried, and given up when the whole did not grow clearly.

use std::time::Duration;

/// How long each number of connections is measured.
const MEASURE: Duration = Duration::from_millis(1000);
/// A connection begins slowly: what it does in its first time is not measured.
const WARM_UP: Duration = Duration::from_millis(250);
/// Faster than this, one connection is enough.
const FAST: u64 = 100_000_000;
/// More connections have to make it so many times as fast, in percent.
const CLEARLY: u64 = 130;

/// The trial of one fill.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    most: usize,
    lines: usize,
    /// Connections and bytes a second before the last were added.
    before: Option<(usize, u64)>,
    /// When the present number was begun with; and what had been received when measuring began, and when.
    begun: Duration,
    from: Option<(Duration, u64)>,
    settled: bool,
}

/// What a look at the clock brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Go,
    /// This many from now on.
    Try(usize),
    /// This many are best, and will stay.
    Best(usize),
}

impl Growth {
    /// Begins with one connection, or with as many as are known to be best.
    pub(super) fn new(most: usize, best: Option<usize>) -> Self {
        let lines = best.unwrap_or(1).clamp(1, most);
        Self { most, lines, before: None, begun: Duration::ZERO, from: None, settled: best.is_some() || most <= 1 }
    }

    /// How many connections are to be busy.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// After so much time of the fill, `received` bytes are here and `left` are to come.
    pub(super) fn look(&mut self, now: Duration, received: u64, left: u64) -> Verdict {
        if self.settled || now < self.begun + WARM_UP {
            return Verdict::Go;
        }
        let (since, had) = *self.from.get_or_insert((now, received));
        if now < since + MEASURE {
            return Verdict::Go;
        }
        let millis = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = received.saturating_sub(had).saturating_mul(1000) / millis;
        self.judge(now, rate, left)
    }

    fn judge(&mut self, now: Duration, rate: u64, left: u64) -> Verdict {
        match self.before {
            None if rate >= FAST || left < rate => {
                self.settled = true; // says nothing about the upstream
                return Verdict::Go;
            }
            Some((lines, before)) if rate < before.saturating_mul(CLEARLY) / 100 => return self.settle(lines),
            _ if self.lines == self.most => return self.settle(self.lines),
            _ => {}
        }
        self.before = Some((self.lines, rate));
        self.lines = (self.lines * 2).min(self.most);
        (self.begun, self.from) = (now, None);
        Verdict::Try(self.lines)
    }

    fn settle(&mut self, lines: usize) -> Verdict {
        (self.lines, self.settled) = (lines, true);
        Verdict::Best(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts of a fill of 1 GiB from an upstream with these rates by number of connections.
    fn verdicts(rate: impl Fn(usize) -> u64) -> Vec<Verdict> {
        let (mut growth, mut received, mut heard) = (Growth::new(4, None), 0, Vec::new());
        for tick in 0..400_u32 {
            let now = Duration::from_millis(50) * tick;
            match growth.look(now, received, (1_u64 << 30).saturating_sub(received)) {
                Verdict::Go => {}
                verdict => heard.push(verdict),
            }
            received += rate(growth.lines()) / 20;
        }
        heard
    }

    #[test]
    fn an_upstream_that_limits_each_connection_gets_more_of_them() {
        let capped = |lines: usize| 30_000_000 * lines as u64;
        assert_eq!(verdicts(capped), [Verdict::Try(2), Verdict::Try(4), Verdict::Best(4)]);
        let at_two = |lines: usize| 30_000_000 * lines.min(2) as u64;
        assert_eq!(verdicts(at_two), [Verdict::Try(2), Verdict::Try(4), Verdict::Best(2)]);
    }

    #[test]
    fn a_limited_link_gets_one_and_a_fast_one_is_left_alone() {
        assert_eq!(verdicts(|_| 30_000_000), [Verdict::Try(2), Verdict::Best(1)]);
        assert_eq!(verdicts(|lines| 30_000_000 - lines as u64 * 1_000_000), [Verdict::Try(2), Verdict::Best(1)]);
        assert_eq!(verdicts(|_| 125_000_000), []);
    }

    #[test]
    fn what_is_nearly_done_is_left_alone_and_what_is_known_is_not_tried_again() {
        let mut growth = Growth::new(4, None);
        growth.look(Duration::from_millis(300), 0, 60_000_000);
        assert_eq!(growth.look(Duration::from_millis(1400), 33_000_000, 27_000_000), Verdict::Go);
        assert_eq!(growth.lines(), 1);
        assert_eq!((Growth::new(4, Some(4)).lines(), Growth::new(2, Some(4)).lines()), (4, 2));
    }
}
