//! When an upstream is worth asking.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::UpstreamError;
use crate::tasks::lock;

/// Rest after the first failure; doubles with each further one. Shorter than people notice, and long enough that the
/// dozen requests of one pull cost one failure.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest: how late an upstream's return can be noticed.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Remembers an upstream's failures.
///
/// Open: it could not be reached or stayed silent; nothing is asked until the rest is over. Strained: it answers slowly,
/// limits us or fails; what we hold is served without asking, what we do not hold is asked for.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    strained_until: Option<Instant>,
    /// When the registry last answered anything.
    answered_at: Option<Instant>,
}

impl Breaker {
    /// Whether asking is pointless now.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.0).open_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether what we hold should be served without asking.
    pub(crate) fn is_strained(&self) -> bool {
        self.is_open() || lock(&self.0).strained_until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes that an answer is overdue, though it may still come.
    pub(crate) fn overdue(&self) {
        lock(&self.0).strain(None);
    }

    /// Notes how a request that was `begun` then ended; `answered`: the registry itself did answer.
    pub(super) fn note(&self, error: Option<&UpstreamError>, answered: bool, begun: Instant) {
        let mut state = lock(&self.0);
        if answered {
            state.answered_at = Some(Instant::now());
        }
        // One slow request among others that are answered is no outage.
        let answered_others = state.answered_at.is_some_and(|at| at > begun);
        match error {
            None | Some(UpstreamError::Gone(_)) => {
                *state = State { answered_at: state.answered_at, ..State::default() };
            }
            Some(UpstreamError::Unreachable(_)) if !answered => state.open(),
            Some(UpstreamError::Silent(_)) if !answered && !answered_others => state.open(),
            Some(UpstreamError::Limited { retry_after }) => state.strain(*retry_after),
            Some(UpstreamError::Failing(_) | UpstreamError::Unreachable(_) | UpstreamError::Silent(_)) => {
                state.strain(None);
            }
            // These say nothing about whether the registry is well.
            Some(
                UpstreamError::Resting
                | UpstreamError::Elsewhere(_)
                | UpstreamError::Refused(_)
                | UpstreamError::CredentialsRefused
                | UpstreamError::Crowded
                | UpstreamError::Redirect(_)
                | UpstreamError::Garbage(_)
                | UpstreamError::Cut(_)
                | UpstreamError::Stopped,
            ) => {}
        }
    }
}

impl State {
    fn rest(&mut self) -> Duration {
        let rest = FIRST_REST * 2_u32.pow(self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        rest.min(LONGEST_REST)
    }

    fn open(&mut self) {
        let now = Instant::now();
        if self.open_until.is_none_or(|until| until <= now) {
            self.open_until = Some(now + self.rest());
        }
    }

    fn strain(&mut self, retry_after: Option<Duration>) {
        let now = Instant::now();
        if self.strained_until.is_none_or(|until| until <= now) {
            let rest = retry_after.unwrap_or_else(|| self.rest()).min(LONGEST_REST);
            self.strained_until = Some(now + rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    const SILENT: UpstreamError = UpstreamError::Silent(Duration::ZERO);

    #[tokio::test(start_paused = true)]
    async fn a_failure_opens_it_for_longer_each_time_until_a_success() {
        let breaker = Breaker::default();
        for rest in [1, 2, 4, 8, 16, 30, 30] {
            breaker.note(Some(&SILENT), false, Instant::now());
            assert!(breaker.is_open() && breaker.is_strained());
            tokio::time::advance(Duration::from_secs(rest) - Duration::from_millis(1)).await;
            assert!(breaker.is_open(), "{rest}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!breaker.is_open(), "{rest}");
        }
        breaker.note(None, true, Instant::now());
        breaker.note(Some(&SILENT), false, Instant::now());
        tokio::time::advance(FIRST_REST).await;
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_at_the_same_time_count_once() {
        let breaker = Breaker::default();
        for _ in 0..32 {
            breaker.note(Some(&SILENT), false, Instant::now());
        }
        tokio::time::advance(FIRST_REST).await;
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_does_not_open_it_while_others_are_answered() {
        let (breaker, begun) = (Breaker::default(), Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        breaker.note(None, true, begun);
        breaker.note(Some(&SILENT), false, begun);
        assert!(breaker.is_strained() && !breaker.is_open());
        tokio::time::advance(Duration::from_secs(1)).await;
        breaker.note(Some(&SILENT), false, Instant::now());
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_was_answered_strains_but_does_not_open() {
        for error in [
            UpstreamError::Failing(StatusCode::BAD_GATEWAY),
            UpstreamError::Limited { retry_after: Some(Duration::from_secs(5)) },
        ] {
            let breaker = Breaker::default();
            breaker.note(Some(&error), true, Instant::now());
            assert!(breaker.is_strained() && !breaker.is_open());
            tokio::time::advance(Duration::from_secs(6)).await;
            assert!(!breaker.is_strained());
        }
        let breaker = Breaker::default();
        breaker.note(Some(&UpstreamError::Refused(StatusCode::FORBIDDEN)), true, Instant::now());
        assert!(!breaker.is_strained());
    }
}
