//! The connections of one fill: the first, and those that readers or a slow upstream bring in.

use std::{sync::atomic::Ordering, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use http::header;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    PullError,
    connection::{Connection, Shared, Start},
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
/// So little to go that a fill ends also when nobody reads it.
const NEARLY_DONE: u64 = 64 << 20;

/// What the fill's connections are doing.
struct Lines {
    begun: Instant,
    growth: Growth,
    next: Line,
    /// No connection more before that.
    rest_until: Instant,
    unread_since: Option<Instant>,
    last: Option<PullError>,
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
                    Some(ended) => lines.ended(ended.err()),
                    None => return lines.all_ended(self),
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
        Self { begun: now, growth, next: 1, rest_until: now, unread_since: None, last: None }
    }

    fn ended(&mut self, error: Option<PullError>) {
        if error.is_some() {
            self.rest_until = Instant::now() + REST;
            self.last = error;
        }
    }

    fn all_ended(&mut self, shared: &Shared) -> Result<(), PullError> {
        if shared.plan().is_whole() {
            return Ok(());
        }
        Err(self.last.take().unwrap_or(UpstreamError::Cut(None).into()))
    }

    /// Looks at the clock: whether more connections are to be tried, and whether anybody reads.
    fn look(&mut self, shared: &Shared) -> Result<(), PullError> {
        let Some(size) = shared.plan().size() else { return Ok(()) };
        let present = shared.plan().received();
        let left = size.saturating_sub(present);
        if shared.lane.honours_range() {
            let received = shared.received.load(Ordering::Relaxed);
            if let Verdict::Best(lines) = self.growth.look(self.begun.elapsed(), received, left) {
                shared.lane.note_best(lines);
            }
            shared.steady.store(self.growth.lines(), Ordering::Relaxed);
        }
        if shared.fill.is_read() {
            self.unread_since = None;
            return Ok(());
        }
        // What is nearly done ends anyway: most of it would be asked for again, and somebody wanted it.
        let unread = self.unread_since.get_or_insert_with(Instant::now).elapsed();
        let stops = unread >= UNREAD_FOR && left > NEARLY_DONE && present < size / 2;
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
        if running >= steady && !plan.is_wanted(&wants) {
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
