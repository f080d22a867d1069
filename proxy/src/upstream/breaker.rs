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

/// The longest that a registry's 429 is obeyed: a slip of its pen is not to keep us away for days.
const LONGEST_LIMIT: Duration = Duration::from_secs(3600);
/// How long one request may try alone, after a rest, whether the upstream is back.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Remembers an upstream's failures.
///
/// Open: it could not be reached or stayed silent, or said when to come back; nothing is asked until the rest is over, and
/// then by one alone until that one knows. Strained: it answers slowly, limits us or fails; what we hold is served without
/// asking, what we do not hold is asked for.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Rest,
    strained: Rest,
    /// It said itself when to come back.
    limited_until: Option<Instant>,
    /// When the registry last answered anything.
    answered_at: Option<Instant>,
}

/// A rest, and who may look whether it is needed any longer.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Option<Instant>,
    probing_until: Option<Instant>,
}

impl Rest {
    fn lasts(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until) || self.probing_until.is_some_and(|until| now < until)
    }

    /// Whether to go on: there is no rest, or it is over and nobody else looks.
    fn probe(&mut self, now: Instant) -> bool {
        let free = !self.lasts(now);
        if free && self.until.is_some() {
            self.probing_until = Some(now + PROBE_WITHIN);
        }
        free
    }
}

/// How long a breaker keeps requests away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rests {
    pub(super) open: Option<Duration>,
    pub(super) strained: Option<Duration>,
    pub(super) limited: Option<Duration>,
    pub(super) failures: u32,
}

impl Breaker {
    /// Leave to ask: after a rest to one alone, until that one knows.
    pub(super) fn may_ask(&self) -> Result<(), UpstreamError> {
        let (mut state, now) = (lock(&self.0), Instant::now());
        if let Some(left) = left(state.limited_until, now) {
            return Err(UpstreamError::Limited { retry_after: Some(left) });
        }
        if state.open.probe(now) { Ok(()) } else { Err(UpstreamError::Resting) }
    }

    /// Whether to ask about what we hold: not while the upstream is strained, and then one alone.
    pub(crate) fn may_check(&self) -> bool {
        let (mut state, now) = (lock(&self.0), Instant::now());
        left(state.limited_until, now).is_none() && !state.open.lasts(now) && state.strained.probe(now)
    }

    /// Whether what we hold is served without asking.
    #[cfg(test)]
    fn is_strained(&self) -> bool {
        let (state, now) = (lock(&self.0), Instant::now());
        left(state.limited_until, now).is_some() || state.open.lasts(now) || state.strained.lasts(now)
    }

    /// Notes that an answer is overdue, though it may still come, or was of no use.
    pub(crate) fn overdue(&self) {
        let (mut state, now) = (lock(&self.0), Instant::now());
        // Where the end of a request was noted already, it is not counted twice.
        if !state.open.lasts(now) && left(state.limited_until, now).is_none() {
            state.strain(None);
        }
    }

    /// How long it keeps requests away.
    pub(super) fn rests(&self) -> Rests {
        let (state, now) = (lock(&self.0), Instant::now());
        let (open, strained) = (left(state.open.until, now), left(state.strained.until, now));
        Rests { open, strained, limited: left(state.limited_until, now), failures: state.failures }
    }

    /// Notes how a request that was `begun` then ended; `answered`: the registry itself did answer, and may have said
    /// when to come back.
    pub(super) fn note(
        &self,
        error: Option<&UpstreamError>,
        answered: bool,
        begun: Instant,
        retry_after: Option<Duration>,
    ) {
        let mut state = lock(&self.0);
        // Whoever looked alone has seen.
        (state.open.probing_until, state.strained.probing_until) = (None, None);
        if answered {
            state.answered_at = Some(Instant::now());
        }
        // One slow request among others that are answered is no outage.
        let answered_others = state.answered_at.is_some_and(|at| at > begun);
        match error {
            None | Some(UpstreamError::Gone(_)) => state.is_well(),
            Some(UpstreamError::Refused(_)) if answered => state.is_well(),
            Some(UpstreamError::Unreachable(_) | UpstreamError::Realm(_)) if !answered => state.open(),
            Some(UpstreamError::Silent(_)) if !answered && !answered_others => state.open(),
            Some(UpstreamError::Limited { retry_after }) => {
                state.limit(*retry_after, LONGEST_LIMIT);
                state.strain(*retry_after);
            }
            Some(UpstreamError::Failing(_)) => {
                state.limit(retry_after, LONGEST_REST);
                state.strain(retry_after);
            }
            Some(UpstreamError::Unreachable(_) | UpstreamError::Realm(_) | UpstreamError::Silent(_)) => {
                state.strain(None);
            }
            // These say nothing about whether the registry is well.
            Some(
                UpstreamError::Resting
                | UpstreamError::Elsewhere(_)
                | UpstreamError::ElsewhereResting
                | UpstreamError::ElsewhereFailing(_)
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

fn left(until: Option<Instant>, now: Instant) -> Option<Duration> {
    until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
}

impl State {
    /// It answers. What it said about when to come back still holds.
    fn is_well(&mut self) {
        *self = Self { answered_at: self.answered_at, limited_until: self.limited_until, ..Self::default() };
    }

    fn rest(&mut self) -> Duration {
        let rest = FIRST_REST * 2_u32.pow(self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        rest.min(LONGEST_REST)
    }

    fn open(&mut self) {
        let now = Instant::now();
        if self.open.until.is_none_or(|until| until <= now) {
            self.open.until = Some(now + self.rest());
        }
    }

    fn strain(&mut self, retry_after: Option<Duration>) {
        let now = Instant::now();
        if self.strained.until.is_none_or(|until| until <= now) {
            let rest = retry_after.unwrap_or_else(|| self.rest()).min(LONGEST_REST);
            self.strained.until = Some(now + rest);
        }
    }

    fn limit(&mut self, retry_after: Option<Duration>, longest: Duration) {
        if let Some(wanted) = retry_after {
            let until = Instant::now() + wanted.min(longest);
            self.limited_until = self.limited_until.max(Some(until));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    const SILENT: UpstreamError = UpstreamError::Silent(Duration::ZERO);

    fn is_open(breaker: &Breaker) -> bool {
        lock(&breaker.0).open.lasts(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_opens_it_for_longer_each_time_until_a_success() {
        let breaker = Breaker::default();
        for rest in [1, 2, 4, 8, 16, 30, 30] {
            breaker.note(Some(&SILENT), false, Instant::now(), None);
            assert!(is_open(&breaker) && breaker.is_strained());
            tokio::time::advance(Duration::from_secs(rest) - Duration::from_millis(1)).await;
            assert!(is_open(&breaker), "{rest}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!is_open(&breaker), "{rest}");
        }
        breaker.note(None, true, Instant::now(), None);
        breaker.note(Some(&SILENT), false, Instant::now(), None);
        tokio::time::advance(FIRST_REST).await;
        assert!(!is_open(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_at_the_same_time_count_once() {
        let breaker = Breaker::default();
        for _ in 0..32 {
            breaker.note(Some(&SILENT), false, Instant::now(), None);
        }
        tokio::time::advance(FIRST_REST).await;
        assert!(!is_open(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_does_not_open_it_while_others_are_answered() {
        let (breaker, begun) = (Breaker::default(), Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        breaker.note(None, true, begun, None);
        breaker.note(Some(&SILENT), false, begun, None);
        assert!(breaker.is_strained() && !is_open(&breaker));
        tokio::time::advance(Duration::from_secs(1)).await;
        breaker.note(Some(&SILENT), false, Instant::now(), None);
        assert!(is_open(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_was_answered_strains_but_does_not_open() {
        for error in [UpstreamError::Failing(StatusCode::BAD_GATEWAY), UpstreamError::Limited { retry_after: None }] {
            let breaker = Breaker::default();
            breaker.note(Some(&error), true, Instant::now(), None);
            assert!(breaker.is_strained() && !is_open(&breaker));
            tokio::time::advance(Duration::from_secs(6)).await;
            assert!(!breaker.is_strained());
        }
        let breaker = Breaker::default();
        breaker.note(Some(&UpstreamError::Refused(StatusCode::FORBIDDEN)), true, Instant::now(), None);
        assert!(!breaker.is_strained());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rest_one_tries_alone_and_the_others_go_on_once_it_knows() {
        let breaker = Breaker::default();
        breaker.note(Some(&SILENT), false, Instant::now(), None);
        tokio::time::advance(FIRST_REST).await;
        assert!(breaker.may_check() && breaker.may_ask().is_ok());
        for _ in 0..64 {
            assert!(!breaker.may_check() && matches!(breaker.may_ask(), Err(UpstreamError::Resting)));
        }
        breaker.note(Some(&SILENT), false, Instant::now(), None);
        tokio::time::advance(2 * FIRST_REST).await;
        assert!(breaker.may_ask().is_ok() && breaker.may_ask().is_err());
        breaker.note(None, true, Instant::now(), None);
        assert!(breaker.may_ask().is_ok() && breaker.may_ask().is_ok() && breaker.may_check());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_tries_alone_and_is_never_heard_of_again_is_followed_by_another() {
        let breaker = Breaker::default();
        breaker.note(Some(&SILENT), false, Instant::now(), None);
        tokio::time::advance(FIRST_REST).await;
        assert!(breaker.may_ask().is_ok() && breaker.may_ask().is_err());
        tokio::time::advance(PROBE_WITHIN).await;
        assert!(breaker.may_ask().is_ok() && breaker.may_ask().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_strain_one_checks_alone_and_what_is_not_held_is_asked_for() {
        let breaker = Breaker::default();
        breaker.overdue();
        assert!(!breaker.may_check() && breaker.may_ask().is_ok());
        tokio::time::advance(FIRST_REST).await;
        assert!(breaker.may_check() && !breaker.may_check() && breaker.may_ask().is_ok());
        breaker.note(None, true, Instant::now(), None);
        assert!(breaker.may_check() && breaker.may_check());
    }

    #[tokio::test(start_paused = true)]
    async fn p10_a_limit_is_obeyed_for_as_long_as_it_says_whatever_else_is_answered_meanwhile() {
        for (said, obeyed) in [(90, 90), (100_000, 3600)] {
            let breaker = Breaker::default();
            let limited = UpstreamError::Limited { retry_after: Some(Duration::from_secs(said)) };
            breaker.note(Some(&limited), true, Instant::now(), None);
            breaker.note(None, true, Instant::now(), None);
            tokio::time::advance(Duration::from_secs(obeyed) - Duration::from_millis(1)).await;
            assert!(breaker.is_strained() && !breaker.may_check(), "{said}");
            assert!(matches!(breaker.may_ask(), Err(UpstreamError::Limited { retry_after: Some(_) })));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(breaker.may_ask().is_ok() && breaker.may_ask().is_ok(), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_says_when_it_ends_is_believed_for_half_a_minute() {
        let breaker = Breaker::default();
        let trouble = UpstreamError::Failing(StatusCode::SERVICE_UNAVAILABLE);
        breaker.note(Some(&trouble), true, Instant::now(), Some(Duration::from_secs(7200)));
        tokio::time::advance(LONGEST_REST - Duration::from_millis(1)).await;
        assert!(breaker.may_ask().is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(breaker.may_ask().is_ok());
    }
}
