//! What a request brings to a pull: by when it is answered, and as whose.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{ANSWER_WITHIN, FIRST_BYTE_WITHIN, PullError};

/// Patience with an upstream when the answer is here already: a stale tag is served within 2 s.
const STALE_AFTER: Duration = Duration::from_millis(1500);
/// Whoever had less time to answer is not called slow.
const FAIR: Duration = Duration::from_secs(1);
/// Work that ends at the deadline itself is heard of so much later: it tells more than that the time is over.
const GRACE: Duration = Duration::from_millis(100);

/// When one request must be answered. Made once, as it comes in: whatever is asked for it shares the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// Its headers, or a blob's first byte.
    pub(super) until: Instant,
    /// Where what is kept will do.
    pub(super) kept: Instant,
}

impl Deadline {
    /// Of an answer that is headers, or no more than can be read at once (P1).
    pub(crate) fn of_headers(begun: Instant) -> Self {
        Self { until: begun + ANSWER_WITHIN, kept: Instant::now() + STALE_AFTER }
    }

    /// Of a blob's bytes (P1).
    pub(crate) fn of_blob(begun: Instant) -> Self {
        Self { until: begun + FIRST_BYTE_WITHIN, ..Self::of_headers(begun) }
    }

    /// When a question begun now should be answered: one that others may join is not cut short because ours comes late,
    /// for that would look like an upstream that stays silent.
    pub(super) fn of_question(self) -> Instant {
        let now = Instant::now();
        if self.until > now + ANSWER_WITHIN / 2 { self.until.min(now + ANSWER_WITHIN) } else { now + ANSWER_WITHIN }
    }

    /// Whether an upstream that was asked at `begun`, and has not answered by [`Deadline::kept`], is overdue: what came
    /// before may have taken most of the time.
    pub(super) fn was_fair(self, begun: Instant) -> bool {
        self.kept >= begun + FAIR
    }

    /// Waits for work no longer than the request can.
    pub(super) async fn wait<T>(self, work: impl Future<Output = T>) -> Result<T, PullError> {
        timeout_at(self.until + GRACE, work).await.map_err(|_| PullError::Late)
    }
}

/// What a request may have of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    /// All that we read with our credentials.
    Us,
    /// What everybody reads; also all there is where we have no credentials.
    Anybody,
}

/// That a request may be answered; only the check of permission makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit {
    pub(super) reader: Reader,
    /// Whether the upstream stands by it. Otherwise it is good for what is kept only: asking goes with our credentials,
    /// and what is new may be closed.
    pub(super) confirmed: bool,
    pub(super) deadline: Deadline,
}

impl Permit {
    /// Whether the upstream may be asked for what is not kept.
    pub(super) fn may_fetch(self) -> Result<(), PullError> {
        if self.confirmed { Ok(()) } else { Err(PullError::Unconfirmed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p1_the_end_of_a_wait_leaves_time_to_say_so() {
        let begun = Instant::now();
        for (deadline, seconds) in [(Deadline::of_headers(begun), 8), (Deadline::of_blob(begun), 15)] {
            assert!(deadline.wait(std::future::pending::<()>()).await.is_err());
            let after = begun.elapsed();
            assert!(after + Duration::from_millis(250) < Duration::from_secs(seconds), "{after:?}");
        }
    }
}
