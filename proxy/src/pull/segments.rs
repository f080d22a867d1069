//! Which bytes of a blob are there: sorted, disjoint, merged.

use std::collections::BTreeMap;

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
            let segments: Vec<_> = map.0.into_iter().collect();
            prop_assert!(segments.windows(2).all(|pair| pair[0].1 < pair[1].0), "merged: {:?}", segments);
        }
    }
}
