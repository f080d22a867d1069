//! A link of so many bytes a second, smooth: no bucket that fills up and bursts.

use std::time::{Duration, Instant};

/// What a late sender may catch up; sleeping is no more exact than this.
const SLACK: Duration = Duration::from_millis(2);

/// Says when the next bytes may go.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    next: Instant,
}

impl Pace {
    /// A link that is free from now on.
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, next: now }
    }

    /// When these bytes may go, if they are asked for `now`; they are taken for sent then.
    pub fn reserve(&mut self, now: Instant, bytes: u64) -> Instant {
        let at = now.checked_sub(SLACK).map_or(self.next, |earliest| self.next.max(earliest));
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        self.next = at + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_link_carries_its_rate() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(1_000_000, start), start);
        for _ in 0..1000 {
            now = now.max(pace.reserve(now, 10_000));
        }
        assert_eq!(now - start, Duration::from_millis(9_990));
    }

    #[test]
    fn a_pause_is_not_made_good_by_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000, start);
        let later = start + Duration::from_secs(10);
        let sent_by_then = (0..100).filter(|_| pace.reserve(later, 1_000) <= later).count();
        assert_eq!(sent_by_then, 3, "two milliseconds' worth and the one that begins now");
    }

    #[test]
    fn a_sender_that_oversleeps_a_little_loses_nothing() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(1_000_000, start), start);
        for _ in 0..1000 {
            let at = pace.reserve(now, 10_000);
            now = now.max(at + Duration::from_micros(500));
        }
        assert!(now - start < Duration::from_millis(9_992), "{:?}", now - start);
    }
}
