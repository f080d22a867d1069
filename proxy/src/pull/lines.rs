//! The connections of one fill: the first, and those that readers or a slow upstream bring in.

use std::{sync::atomic::Ordering, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use http::header;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    PullError,
    connection::{Connection, Ended, Shared, Start, is_ours},
    growth::{Growth, Verdict},
    planner::Line,
    sink::Sink,
};
use crate::upstream::UpstreamError;

/// Connections of one fill.
const MOST_LINES: usize = 4;
/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a connection more failed, the next is tried no sooner.
const REST: Duration = Duration::from_secs(5);
/// Nobody reads: who does may only be coming back.
const UNREAD_FOR: Duration = Duration::from_secs(5);
/// An unread fill that brings less than so much in so long would take for ever, and keep others from their turn.
const UNREAD_FLOOR: (u64, Duration) = (1 << 20, Duration::from_secs(30));
/// So little to go that a fill ends also when nobody reads it.
const NEARLY_DONE: u64 = 64 << 20;
/// What does not tell its length may have no end, and who wanted it comes back only when it is kept.
const MOST_UNREAD: u64 = 8 << 30;

/// What the fill's connections are doing.
struct Lines {
    begun: Instant,
    growth: Growth,
    next: Line,
    /// No connection more before that.
    rest_until: Instant,
    unread: Option<Unread>,
    last: Option<PullError>,
    /// The last that ended had tried as hard as can be.
    in_vain: bool,
}

/// A fill that nobody reads.
struct Unread {
    since: Instant,
    /// When its rate was last looked at, and what had been received by then.
    looked: Instant,
    received: u64,
}

impl Unread {
    fn is_slow(&mut self, now: Instant, received: u64) -> bool {
        let (least, within) = UNREAD_FLOOR;
        if now - self.looked < within {
            return false;
        }
        let brought = received - self.received;
        (self.looked, self.received) = (now, received);
        brought < least
    }
}

/// What is nearly done ends anyway: most of it would be asked for again, and somebody wanted it.
fn is_far_from_done(size: Option<u64>, present: u64) -> bool {
    match size {
        Some(size) => size - present > NEARLY_DONE && present < size / 2,
        None => present > MOST_UNREAD,
    }
}

impl Shared {
    /// Notes what an answer says of ranges.
    pub(super) fn note_accepts(&self, answer: &reqwest::Response) {
        match answer.headers().get(header::ACCEPT_RANGES).map(|value| value.as_bytes()) {
            Some(b"bytes") if !self.lane.ignores_range() => self.lane.answered_range(true),
            Some(b"none") => self.lane.answered_range(false),
            _ => {}
        }
    }

    /// Receives to the end, over as many connections as it takes.
    pub(super) async fn receive(&self, first: reqwest::Response, sink: &Sink) -> Result<(), PullError> {
        let mut lines = Lines::new(self);
        let mut running = FuturesUnordered::new();
        running.push(Connection { shared: self, sink, line: 0, extra: None }.run(Start::Answer(first)));
        let mut clock = interval(LOOK_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = running.next() => match ended {
                    Some(ended) => lines.ended(ended),
                    None => match lines.last_one(self, sink)? {
                        Some((connection, start)) => running.push(connection.run(start)),
                        None => return Ok(()),
                    },
                },
                () = self.fill.is_far() => {}
                _ = clock.tick() => lines.look(self)?,
            }
            while let Some((connection, start)) = lines.one_more(self, sink, running.len()) {
                running.push(connection.run(start));
            }
        }
    }
}

impl Lines {
    fn new(shared: &Shared) -> Self {
        let now = Instant::now();
        let growth = Growth::new(MOST_LINES, shared.lane.best());
        shared.steady.store(growth.lines(), Ordering::Relaxed);
        Self { begun: now, growth, next: 1, rest_until: now, unread: None, last: None, in_vain: false }
    }

    fn ended(&mut self, ended: Ended) {
        self.in_vain = ended.in_vain;
        if ended.error.is_some() {
            self.rest_until = Instant::now() + REST;
            self.last = ended.error;
        }
    }

    /// None runs. Where more is to be had the last one gave up, for it was no first one or had to go elsewhere: another
    /// first one tries as hard as can be, once.
    fn last_one<'a>(
        &mut self,
        shared: &'a Shared,
        sink: &'a Sink,
    ) -> Result<Option<(Connection<'a>, Start)>, PullError> {
        if shared.plan().is_whole() {
            return Ok(None);
        }
        let failed = || UpstreamError::Cut(None).into();
        let task = shared.plan().claim(self.next, &shared.fill.wants(), 1);
        match task.filter(|_| !self.in_vain && !self.last.as_ref().is_some_and(is_ours)) {
            Some(task) => {
                let connection = Connection { shared, sink, line: self.next, extra: None };
                self.next += 1;
                Ok(Some((connection, Start::Window(task.window))))
            }
            None => Err(self.last.take().unwrap_or_else(failed)),
        }
    }

    /// Looks at the clock: whether more connections are to be tried, and whether anybody reads.
    fn look(&mut self, shared: &Shared) -> Result<(), PullError> {
        let size = shared.plan().size();
        let present = shared.plan().received();
        let left = size.map_or(u64::MAX, |size| size.saturating_sub(present));
        let received = shared.received.load(Ordering::Relaxed);
        if shared.lane.honours_range() && size.is_some() {
            if let Verdict::Best(lines) = self.growth.look(self.begun.elapsed(), received, left) {
                shared.lane.note_best(lines);
            }
            shared.steady.store(self.growth.lines(), Ordering::Relaxed);
        }
        if shared.fill.is_read() {
            self.unread = None;
            return Ok(());
        }
        let now = Instant::now();
        let unread = self.unread.get_or_insert(Unread { since: now, looked: now, received });
        let stops =
            unread.is_slow(now, received) || (now - unread.since >= UNREAD_FOR && is_far_from_done(size, present));
        if stops && shared.fill.close_unread() { Err(PullError::Unread) } else { Ok(()) }
    }

    /// A connection more, where there is something for it to do.
    fn one_more<'a>(&mut self, shared: &'a Shared, sink: &'a Sink, running: usize) -> Option<(Connection<'a>, Start)> {
        let steady = shared.steady.load(Ordering::Relaxed);
        let rests = Instant::now() < self.rest_until || shared.lane.ignores_range();
        if running == 0 || running >= MOST_LINES || rests {
            return None;
        }
        let wants = shared.fill.wants();
        let mut plan = shared.plan();
        if plan.is_broken() || (running >= steady && !plan.is_wanted(&wants)) {
            return None;
        }
        let extra = shared.lane.extra()?;
        let task = plan.claim(self.next, &wants, steady)?;
        drop(plan);
        if let Some(reader) = task.reader {
            shared.fill.served(reader);
        }
        let connection = Connection { shared, sink, line: self.next, extra: Some(extra) };
        self.next += 1;
        Some((connection, Start::Window(task.window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_ends_when_it_is_slow_or_much_is_to_go_or_it_may_have_no_end() {
        let (now, mib) = (Instant::now(), 1 << 20);
        let mut unread = Unread { since: now, looked: now, received: 5 * mib };
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!unread.is_slow(after(29), 5 * mib) && !unread.is_slow(after(30), 6 * mib));
        assert!(!unread.is_slow(after(59), 6 * mib) && unread.is_slow(after(60), 7 * mib - 1));
        assert!(is_far_from_done(Some(200 * mib), 99 * mib) && !is_far_from_done(Some(200 * mib), 101 * mib));
        assert!(!is_far_from_done(Some(60 * mib), 0));
        assert!(is_far_from_done(None, MOST_UNREAD + 1) && !is_far_from_done(None, MOST_UNREAD));
    }
}
