//! When the next child starts: at once, but for one that ends quickly again and again. Pure.

use std::time::Duration;

/// A child that lived so long did its work: whatever ended it is taken for a single event.
const LONG: Duration = Duration::from_secs(10);
/// The first pause, which doubles.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest: all the while pulls of this node go upstream, and a try costs milliseconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Counts quick ends.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    quick: u32,
}

impl Restarts {
    /// How long to wait after a child that lived so long.
    pub(super) fn pause_after(&mut self, lived: Duration) -> Duration {
        self.quick = if lived < LONG { self.quick.saturating_add(1) } else { 0 };
        match self.quick {
            0 | 1 => Duration::ZERO,
            quick => SHORTEST.saturating_mul(2_u32.saturating_pow(quick - 2)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_child_starts_at_once_unless_they_end_again_and_again() {
        let mut restarts = Restarts::default();
        let mut quick = || restarts.pause_after(Duration::from_millis(10)).as_millis();
        assert_eq!([quick(), quick(), quick(), quick()], [0, 100, 200, 400]);
        assert_eq!((0..100).map(|_| quick()).max(), Some(5000));
        assert_eq!(restarts.pause_after(LONG), Duration::ZERO);
        assert_eq!(restarts.pause_after(Duration::ZERO), Duration::ZERO);
    }
}
