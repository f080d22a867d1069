//! Whether a member is worth asking: after a failure it is left alone for a while that grows.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// The first pause after a failure, doubled for each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: how long a member that came back may wait for its first request.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long one request may try a member after a pause before another may: a dead one takes a second to tell.
const TRIAL: Duration = Duration::from_secs(2);

/// One member's breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Closed to requests until then.
    until: Option<Instant>,
}

impl Breaker {
    /// Whether a request may go to the member now. After a pause one may, and the others wait for what becomes of it.
    pub(super) fn may_be_asked(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        match state.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.until = Some(now + TRIAL);
                true
            }
        }
    }

    /// Whether the last request failed.
    pub(super) fn is_open(&self) -> bool {
        self.state().until.is_some()
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
    }

    pub(super) fn failed(&self) {
        let mut state = self.state();
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(state.failures)).min(LONGEST_PAUSE);
        state.failures = state.failures.saturating_add(1);
        state.until = Some(Instant::now() + pause);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_ten_seconds_and_a_success_ends_them() {
        let breaker = Breaker::default();
        for pause in [1, 2, 4, 8, 10, 10] {
            assert!(breaker.may_be_asked());
            breaker.failed();
            tokio::time::advance(Duration::from_millis(pause * 1000 - 1)).await;
            assert!(!breaker.may_be_asked(), "{pause}");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        breaker.succeeded();
        assert!(breaker.may_be_asked() && breaker.may_be_asked() && !breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_one_request_tries_and_the_others_do_not_wait_with_it() {
        let breaker = Breaker::default();
        breaker.failed();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.may_be_asked() && !breaker.may_be_asked());
        tokio::time::advance(TRIAL).await;
        assert!(breaker.may_be_asked(), "the trial ended without a word");
    }
}
