//! How long a reconcile that failed waits for the next try.

use std::{collections::HashMap, sync::Mutex, time::Duration};

const FIRST: Duration = Duration::from_secs(1);
/// Short enough that a mended cluster heals within a coffee, long enough to be no load.
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by mirror, or by what else is reconciled.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// Counts a failure and says how long to wait: doubling from a second to five minutes, less up to half at random,
    /// so that mirrors that failed together do not come back together.
    pub(crate) fn failed(&self, mirror: &str) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = counts.entry(mirror.to_owned()).or_default();
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(*count)).min(LONGEST);
        *count = count.saturating_add(1);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Forgets a mirror's failures: it succeeded, or is gone.
    pub(crate) fn forget(&self, mirror: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(mirror);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_anew_after_success() {
        let backoff = Backoff::default();
        let first = backoff.failed("reef");
        assert!(first >= FIRST / 2 && first <= FIRST);
        let later: Vec<_> = (0..40).map(|_| backoff.failed("reef")).collect();
        assert!(later.iter().all(|wait| *wait <= LONGEST) && later[39] >= LONGEST / 2);
        // Those that failed together do not come back together.
        assert!(later[10..].windows(2).any(|pair| pair[0].abs_diff(pair[1]) > LONGEST / 100));
        assert!(backoff.failed("other") <= FIRST);
        backoff.forget("reef");
        assert!(backoff.failed("reef") <= FIRST);
    }
}
