//! Which bytes of a blob are there: sorted, disjoint, merged.

use std::{collections::BTreeMap, ops::Bound};

use tidepool_oci::Window;

/// The parts of a blob that have been written. One sequential transfer makes one segment; several make several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentMap(BTreeMap<u64, u64>);

impl SegmentMap {
    /// Everything up to `end`.
    pub(super) fn up_to(end: u64) -> Self {
        let mut map = Self::default();
        map.add(0, end);
        map
    }

    /// Notes that bytes `start..end` are there.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        while let Some((&at, &until)) = self.0.range(..=end).next_back().filter(|(_, until)| **until >= start) {
            (start, end) = (start.min(at), end.max(until));
            self.0.remove(&at);
        }
        self.0.insert(start, end);
    }

    /// Where the bytes that are there from `at` on end; `at` itself when that byte is missing.
    pub(super) fn end_from(&self, at: u64) -> u64 {
        self.0.range(..=at).next_back().map_or(at, |(_, &until)| until.max(at))
    }

    /// Where the next segment begins that begins after `at`.
    pub(super) fn next_after(&self, at: u64) -> Option<u64> {
        self.0.range((Bound::Excluded(at), Bound::Unbounded)).next().map(|(&start, _)| start)
    }

    /// Where the last segment ends that begins before `at`; 0 where there is none.
    pub(super) fn end_of_previous(&self, at: u64) -> u64 {
        self.0.range(..at).next_back().map_or(0, |(_, &end)| end)
    }

    /// Whether bytes `start..end` are all there.
    pub(super) fn covers(&self, start: u64, end: u64) -> bool {
        self.end_from(start) >= end
    }

    /// How many bytes are there.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What is missing of bytes `start..end`, in order.
    pub(super) fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = Window> {
        let mut at = self.end_from(start);
        std::iter::from_fn(move || {
            let gap = Window { start: at, end: self.next_after(at).unwrap_or(end).min(end) };
            at = self.end_from(gap.end);
            (gap.start < gap.end).then_some(gap)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_bitmap(parts in proptest::collection::vec((0_u64..64, 0_u64..64), 0..12)) {
            let (mut map, mut bits) = (SegmentMap::default(), [false; 64]);
            for (start, end) in parts {
                map.add(start, end);
                (start..end).for_each(|at| bits[usize::try_from(at).unwrap()] = true);
            }
            for at in 0..64 {
                let run = bits[at..].iter().take_while(|there| **there).count();
                prop_assert_eq!(map.end_from(at as u64), (at + run) as u64);
            }
            prop_assert_eq!(map.bytes(), bits.iter().filter(|there| **there).count() as u64);
            let mut filled = map.clone();
            for gap in map.gaps(8, 60) {
                prop_assert!(gap.start >= 8 && gap.end <= 60, "{:?}", gap);
                prop_assert!((gap.start..gap.end).all(|at| map.end_from(at) == at), "{:?} is missing", gap);
                filled.add(gap.start, gap.end);
            }
            prop_assert!(filled.covers(8, 60));
            let segments: Vec<_> = map.0.into_iter().collect();
            prop_assert!(segments.windows(2).all(|pair| pair[0].1 < pair[1].0), "merged: {:?}", segments);
        }
    }
}
