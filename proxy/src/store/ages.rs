//! How many bytes were last pulled how long ago, in a table of fixed size however many files there are.

/// Each second of the last quarter of an hour, then 64 steps for each doubling: a step is below two hundredths of the age.
const EXACT: u64 = 1024;
const STEPS: u64 = 64;
/// Enough for any age that a number can tell.
const COUNT: usize = 1024 + 64 * 54;

/// Bytes by age.
#[derive(Debug)]
pub(super) struct Ages {
    now: i64,
    bytes: Vec<u64>,
}

/// What is to go: all that is older than a step, and of that step some bytes.
#[derive(Debug)]
pub(super) struct Cutoff {
    now: i64,
    step: usize,
    of_step: u64,
}

impl Ages {
    /// Seen from `now`, in seconds since 1970.
    pub(super) fn new(now: i64) -> Self {
        Self { now, bytes: vec![0; COUNT] }
    }

    pub(super) fn add(&mut self, pulled: i64, bytes: u64) {
        if let Some(all) = self.bytes.get_mut(step(self.now, pulled)) {
            *all += bytes;
        }
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of_val(&self.bytes[..])
    }

    pub(super) fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// What must go for that many bytes, the oldest first.
    pub(super) fn cutoff(&self, bytes: u64) -> Cutoff {
        let mut left = bytes;
        for (step, &here) in self.bytes.iter().enumerate().rev() {
            if here >= left {
                return Cutoff { now: self.now, step, of_step: left };
            }
            left -= here;
        }
        Cutoff { now: self.now, step: 0, of_step: u64::MAX }
    }
}

impl Cutoff {
    /// Whether what was pulled then is to go.
    pub(super) fn takes(&self, pulled: i64) -> bool {
        let step = step(self.now, pulled);
        step > self.step || (step == self.step && self.of_step > 0)
    }

    /// Counts what went.
    pub(super) fn took(&mut self, pulled: i64, bytes: u64) {
        if step(self.now, pulled) == self.step {
            self.of_step = self.of_step.saturating_sub(bytes);
        }
    }
}

/// Grows with the age. What was pulled in the future, for a clock was wrong, is new.
fn step(now: i64, pulled: i64) -> usize {
    let age = u64::try_from(now.saturating_sub(pulled)).unwrap_or(0);
    let step = if age < EXACT {
        age
    } else {
        let doublings = u64::from(age.ilog2());
        EXACT + (doublings - 10) * STEPS + ((age >> (doublings - 6)) - STEPS)
    };
    usize::try_from(step).unwrap_or(usize::MAX).min(COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_oldest_go_first_and_no_more_than_asked_but_for_the_last(
            files in proptest::collection::vec((any::<i32>(), 1_u64..100), 0..50),
            wanted in 0_u64..3000,
        ) {
            let now = 2_000_000_000;
            let mut ages = Ages::new(now);
            files.iter().for_each(|(pulled, bytes)| ages.add((*pulled).into(), *bytes));
            prop_assert_eq!(ages.total(), files.iter().map(|(_, bytes)| bytes).sum::<u64>());
            let mut cutoff = ages.cutoff(wanted);
            let (mut gone, mut left, mut last) = (0, Vec::new(), 0);
            for (pulled, bytes) in files {
                let pulled = i64::from(pulled);
                if cutoff.takes(pulled) {
                    cutoff.took(pulled, bytes);
                    gone += bytes;
                    last = last.max(bytes);
                    prop_assert!(step(now, pulled) >= cutoff.step);
                } else {
                    left.push(pulled);
                }
            }
            prop_assert!(gone >= wanted.min(ages.total()) && gone < wanted + last.max(1));
            prop_assert!(left.iter().all(|pulled| step(now, *pulled) <= cutoff.step));
        }
    }

    #[test]
    fn steps_grow_with_the_age_and_end() {
        let mut before = 0;
        for age in (0..3000).chain((12..62).map(|power| (1_i64 << power) + 1)).chain([i64::MAX]) {
            let here = step(0, -age);
            assert!(here >= before && here < COUNT, "{age}");
            before = here;
        }
        assert_eq!(step(0, i64::MIN), step(0, -i64::MAX));
        assert_eq!((step(0, 5), step(5, 5), step(6, 5)), (0, 0, 1));
    }
}
