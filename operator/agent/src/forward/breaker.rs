//! Whether a member is worth asking. A pull is never the one that finds out whether a member which failed is back: the
//! background health is, and how soon it asks is settled here.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// How long a member that failed just now is left alone; a restart is to be noticed within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: thousands of nodes may be asking.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// By this part of the time for which it has been away it is asked again.
const PART: u32 = 8;
/// The first pause of a member whose health is fine and whose answers are not, doubled for each that follows: only a pull
/// can tell whether it does better, and each that tries may pay a deadline.
const MISBEHAVED: Duration = Duration::from_secs(15);
const LONGEST_MISBEHAVED: Duration = Duration::from_secs(300);
/// How long a member must do well, after a pause, until the next begins with the first pause again: it may serve what is
/// small all the while, and hang on what is large.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// One member's breaker. Open: no pull goes there.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// How often it misbehaved, and until when that is remembered.
    misbehaved: Option<(u32, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Instant,
    /// When it may be asked for its health again.
    due: Instant,
    misbehaved: bool,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    /// When it is to be asked for its health; none while pulls go there.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state().open.map(|open| open.due)
    }

    /// It answers: a pull, or about its health.
    pub(super) fn is_well(&self) {
        let mut state = self.state();
        let now = Instant::now();
        state.open = state.open.filter(|open| open.misbehaved && now < open.due);
    }

    /// It is not there, or nobody knows who is.
    pub(super) fn failed(&self) {
        let mut state = self.state();
        let now = Instant::now();
        let open = state.open.get_or_insert(Open { since: now, due: now, misbehaved: false });
        let pause = ((now - open.since) / PART).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        open.due = open.due.max(now + pause);
    }

    /// It is there, and does not do what a member does.
    pub(super) fn misbehaved(&self) {
        let mut state = self.state();
        let now = Instant::now();
        let before = state.misbehaved.filter(|(_, until)| now < *until).map_or(0, |(times, _)| times);
        let pause = MISBEHAVED.saturating_mul(2u32.saturating_pow(before)).min(LONGEST_MISBEHAVED);
        state.misbehaved = Some((before.saturating_add(1), now + pause + FORGOTTEN));
        let since = state.open.map_or(now, |open| open.since);
        state.open = Some(Open { since, due: now + pause, misbehaved: true });
    }

    /// It may be asked at once: something changed.
    pub(super) fn ask_now(&self) {
        if let Some(open) = &mut self.state().open {
            open.due = Instant::now();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a member is asked within `time` of its failure, if it never answers.
    async fn asked_within(time: Duration) -> u32 {
        let (breaker, began, mut asked) = (Breaker::default(), Instant::now(), 0);
        breaker.failed();
        while let Some(due) = breaker.due().filter(|due| *due < began + time) {
            tokio::time::sleep_until(due).await;
            breaker.failed();
            asked += 1;
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn n6_a_restart_is_noticed_within_a_second_and_the_long_dead_are_left_alone() {
        let breaker = Breaker::default();
        let began = Instant::now();
        breaker.failed();
        while began.elapsed() < Duration::from_secs(8) {
            let pause = breaker.due().unwrap() - Instant::now();
            assert!(pause <= Duration::from_secs(1), "{pause:?} after {:?}", began.elapsed());
            tokio::time::sleep(pause).await;
            breaker.failed();
        }
        let (minute, hour) =
            (asked_within(Duration::from_secs(60)).await, asked_within(Duration::from_secs(3600)).await);
        assert!(minute < 40 && hour - minute < 250, "{minute} {hour}");
    }

    #[tokio::test(start_paused = true)]
    async fn n6_only_health_closes_a_breaker_never_the_clock() {
        let breaker = Breaker::default();
        breaker.failed();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(breaker.is_open());
        breaker.is_well();
        assert!(!breaker.is_open() && breaker.due().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn n6_health_alone_does_not_excuse_a_member_that_keeps_no_deadline() {
        let breaker = Breaker::default();
        for pause in [15, 30, 60, 120, 240, 300, 300] {
            breaker.misbehaved();
            tokio::time::advance(Duration::from_secs(pause) - Duration::from_millis(1)).await;
            breaker.is_well();
            assert!(breaker.is_open(), "{pause}");
            tokio::time::advance(Duration::from_millis(1)).await;
            breaker.is_well();
            assert!(!breaker.is_open(), "{pause}");
        }
        tokio::time::advance(FORGOTTEN).await;
        breaker.misbehaved();
        tokio::time::advance(MISBEHAVED).await;
        breaker.is_well();
        assert!(!breaker.is_open(), "it did well for long");
    }
}
