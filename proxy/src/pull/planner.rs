//! Which connection of a fill fetches what: decided from what is there, what the others fetch and what readers want.
//!
//! A fill starts as one request for all that is missing. A connection more takes a window: where a reader waits for bytes
//! that none will reach soon, otherwise ahead of the others. What the first request had claimed there it gives up: it is
//! closed when it gets that far, and goes on with windows of its own. Windows are asked for with their ends, so that no
//! later request needs to be closed, and no byte is asked for twice but those on their way when a request is closed.
//!
//! Pure: no clock, no sockets. [`super::transfer`] does what is decided here.

use std::collections::{BTreeMap, BTreeSet};

use tidepool_oci::Window;

use super::segments::SegmentMap;
use crate::store::BLOCK;

/// One connection of a fill.
pub(super) type Line = u32;

/// How large things are; smaller ones in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Windows begin at multiples of this, where they can: a block from one connection need not be read back.
    pub(super) block: u64,
    /// Asked for at once by one of several connections.
    pub(super) window: u64,
    /// A connection that comes within this of what a reader waits for is soon there.
    pub(super) near: u64,
    /// What closing a request may cost: bytes on their way.
    pub(super) waste: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { block: BLOCK, window: 16 * BLOCK, near: 8 * BLOCK, waste: 4 * BLOCK }
    }
}

/// What a reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) reader: u64,
    pub(super) window: Window,
}

/// Something to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) window: Window,
    /// For which reader, where one waits.
    pub(super) reader: Option<u64>,
}

/// What is to be done with the next bytes of an answer: leave some out, keep some, and go on or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) skip: u64,
    pub(super) at: u64,
    pub(super) take: u64,
    pub(super) more: bool,
}

/// The state of a fill's transfer.
#[derive(Debug)]
pub(super) struct Plan {
    sizes: Sizes,
    /// `None`: not known, all ends are open.
    size: Option<u64>,
    /// Received.
    got: SegmentMap,
    claims: BTreeMap<Line, Claim>,
    /// Connections that broke and have had no answer since.
    broken: BTreeSet<Line>,
    /// How many requests can yet be closed before their end.
    closings: u64,
}

/// What a connection is fetching.
#[derive(Clone, Copy, Debug)]
struct Claim {
    at: u64,
    end: u64,
    /// Where the request ends; beyond `end` others took of it.
    asked: u64,
    /// Others may take of it.
    open: bool,
}

impl Plan {
    pub(super) fn new(size: Option<u64>, got: SegmentMap, sizes: Sizes) -> Self {
        let mut plan = Self { sizes, size: None, got, claims: BTreeMap::new(), broken: BTreeSet::new(), closings: 1 };
        if let Some(size) = size {
            plan.set_size(size);
        }
        plan
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Says how large the whole is.
    pub(super) fn set_size(&mut self, size: u64) {
        self.size = Some(size);
        self.closings = (size / 25 / self.sizes.waste).max(1); // the bytes on their way stay below 4 %
        for claim in self.claims.values_mut() {
            (claim.end, claim.asked) = (claim.end.min(size), claim.asked.min(size));
        }
    }

    /// What was received.
    pub(super) fn got(&self) -> &SegmentMap {
        &self.got
    }

    /// How many bytes were received.
    pub(super) fn received(&self) -> u64 {
        self.got.bytes()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.size.is_some_and(|size| self.got.covers(0, size))
    }

    /// Whether others than `line` fetch something.
    pub(super) fn others_are_busy(&self, line: Line) -> bool {
        self.claims.keys().any(|other| *other != line)
    }

    /// How many connections fetch something.
    fn busy(&self) -> usize {
        self.claims.len()
    }

    /// What `line` fetches next: none where it is not needed. With `steady` others or more busy, only for a reader.
    pub(super) fn claim(&mut self, line: Line, wants: &[Want], steady: usize) -> Option<Task> {
        self.release(line);
        let task = self.urgent(wants).or_else(|| {
            let window = if self.busy() < steady { self.free().or_else(|| self.ahead()) } else { None };
            window.map(|window| Task { window, reader: None })
        })?;
        let window = task.window;
        for claim in self.claims.values_mut().filter(|claim| claim.at < window.start && claim.end > window.start) {
            claim.end = window.start;
        }
        // Alone, it asks for all there is, if that can be closed once more.
        let open = self.claims.is_empty() && self.closings > 0 && task.reader.is_none();
        self.claims.insert(line, Claim { at: window.start, end: window.end, asked: window.end, open });
        Some(task)
    }

    /// The line broke: until it is answered again it only tries.
    pub(super) fn broke(&mut self, line: Line) {
        self.release(line);
        self.broken.insert(line);
    }

    /// The line's request is answered.
    pub(super) fn answered(&mut self, line: Line) {
        self.broken.remove(&line);
    }

    /// The line is no more.
    pub(super) fn end(&mut self, line: Line) {
        self.release(line);
        self.broken.remove(&line);
    }

    /// Whether all lines that there are broke: one more would find what they find, and begin to wait when they are
    /// nearly done with waiting.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty() && self.claims.keys().all(|line| self.broken.contains(line))
    }

    /// Whether a connection more would fetch what a reader waits for.
    pub(super) fn is_wanted(&self, wants: &[Want]) -> bool {
        self.urgent(wants).is_some()
    }

    /// The line's answer is the whole, from its first byte on.
    pub(super) fn restart(&mut self, line: Line) {
        let end = self.size.unwrap_or(u64::MAX);
        self.claims.insert(line, Claim { at: 0, end, asked: end, open: true });
    }

    /// The line fetches nothing for now. What was taken for it of an open claim, and did not come, goes back there.
    pub(super) fn release(&mut self, line: Line) {
        self.claims.remove(&line);
        let starts: Vec<_> = self.claims.values().map(|claim| claim.at).collect();
        for claim in self.claims.values_mut().filter(|claim| claim.open) {
            let other = starts.iter().copied().filter(|at| *at > claim.at).min();
            let there = self.got.next_after(claim.at);
            claim.end = [other, there].into_iter().flatten().fold(claim.asked, u64::min).max(claim.end);
        }
    }

    /// The next `len` bytes of the line's answer are here: what to do with the first of them.
    pub(super) fn receive(&mut self, line: Line, len: u64) -> Step {
        let Some(claim) = self.claims.get_mut(&line) else { return Step { skip: len, at: 0, take: 0, more: false } };
        let skip = (self.got.end_from(claim.at) - claim.at).min(len);
        let at = claim.at + skip;
        let end = self.got.next_after(at).unwrap_or(u64::MAX).min(claim.end).max(at);
        let take = (len - skip).min(end - at);
        claim.at = at + take;
        self.got.add(at, at + take);
        // What lies ahead may have come by other lines.
        let more = !self.got.covers(claim.at, claim.end);
        if !more && claim.at < claim.asked {
            self.closings = self.closings.saturating_sub(1);
        }
        Step { skip, at, take, more }
    }

    /// The first bytes that a reader waits for and that no line will reach soon.
    fn urgent(&self, wants: &[Want]) -> Option<Task> {
        let size = self.size?;
        wants.iter().find_map(|want| {
            let at = self.got.end_from(want.window.start);
            let soon =
                |claim: &Claim| claim.at <= at && at < claim.end && (!claim.open || at - claim.at <= self.sizes.near);
            if at >= want.window.end.min(size) || self.claims.values().any(soon) {
                return None;
            }
            let start = (at - at % self.sizes.block).max(self.edge_before(at));
            Some(Task { window: self.window_from(start), reader: Some(want.reader) })
        })
    }

    /// Where the missing bytes around `at`, which is one of them, begin that no line has claimed; an open claim counts
    /// as far as it is near.
    fn edge_before(&self, at: u64) -> u64 {
        let claimed = self.claims.values().filter(|claim| claim.at <= at);
        let edges = claimed.map(|claim| if claim.open { claim.at } else { claim.end.min(at) });
        let there = self.got.end_of_previous(at);
        edges.chain([there]).max().unwrap_or(0)
    }

    /// The first missing bytes that no line has claimed: all of them where no other line is busy.
    fn free(&self) -> Option<Window> {
        let mut taken = self.got.clone();
        self.claims.values().for_each(|claim| taken.add(claim.at, claim.end));
        let gap = taken.gaps(0, self.size.unwrap_or(u64::MAX)).next()?;
        if self.claims.is_empty() && self.closings > 0 { Some(gap) } else { Some(self.window_from(gap.start)) }
    }

    /// A part of what another line has claimed: not before that is done with a window of its own.
    fn ahead(&self) -> Option<Window> {
        self.size?;
        let claim = self.claims.values().filter(|claim| claim.open).max_by_key(|claim| claim.end - claim.at)?;
        let left = claim.end - claim.at;
        let start = claim.at + self.sizes.window.min(left / 2);
        let start = start.next_multiple_of(self.sizes.block);
        (left > 2 * self.sizes.near && start < claim.end).then(|| self.window_from(start))
    }

    /// A window from there on: to what is there or claimed with an end.
    fn window_from(&self, start: u64) -> Window {
        let claimed = self.claims.values().map(|claim| claim.at).filter(|at| *at > start).min();
        let there = self.got.next_after(start);
        let aligned = (start + self.sizes.window) / self.sizes.block * self.sizes.block;
        let end = [claimed, there, self.size].into_iter().flatten().fold(aligned, u64::min);
        Window { start, end }
    }
}

#[cfg(test)]
mod tests;
