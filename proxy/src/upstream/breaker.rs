//! When an upstream is worth asking.

use std::{sync::Mutex, time::Duration};

use http::StatusCode;
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
/// Silence that was waited for no longer than this says nothing: the time was ours, and short.
const SILENT_AFTER: Duration = Duration::from_secs(3);

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

    /// Looks alone whether the rest is needed any longer, where there was one.
    fn probe(&mut self, now: Instant) -> Option<Instant> {
        self.probing_until = self.until.map(|_| now + PROBE_WITHIN);
        self.probing_until
    }

    fn give_back(&mut self, probe: Option<Instant>) {
        if probe.is_some() && self.probing_until == probe {
            self.probing_until = None;
        }
    }
}

/// Leave to ask. Whoever looks alone whether a rest is over, and lets go of this with nothing noted, has another look.
#[derive(Debug)]
pub(crate) struct Leave<'a> {
    breaker: &'a Breaker,
    open: Option<Instant>,
    strained: Option<Instant>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.breaker.0);
        state.open.give_back(self.open);
        state.strained.give_back(self.strained);
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
    pub(super) fn may_ask(&self) -> Result<Leave<'_>, UpstreamError> {
        let (mut state, now) = (lock(&self.0), Instant::now());
        state.may_pass(now)?;
        Ok(Leave { breaker: self, open: state.open.probe(now), strained: None })
    }

    /// The same for who cannot tell, whatever comes of it, whether the upstream is back: it looks for nobody else.
    pub(super) fn may_pass(&self) -> Result<(), UpstreamError> {
        lock(&self.0).may_pass(Instant::now())
    }

    /// Leave to ask about what we hold: none while the upstream is strained, and then to one alone.
    pub(crate) fn may_check(&self) -> Option<Leave<'_>> {
        let (mut state, now) = (lock(&self.0), Instant::now());
        let free = state.may_pass(now).is_ok() && !state.strained.lasts(now);
        free.then(|| Leave { breaker: self, open: None, strained: state.strained.probe(now) })
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
            Some(UpstreamError::Failing(status)) if answered && is_of_request(*status) => state.is_well(),
            Some(UpstreamError::Silent(waited)) if *waited < SILENT_AFTER => {}
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

/// Whether an answer is about what was asked for, as some client may ask it, and not about how the registry is.
fn is_of_request(status: StatusCode) -> bool {
    let about_us = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !about_us.contains(&status)
}

fn left(until: Option<Instant>, now: Instant) -> Option<Duration> {
    until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
}

impl State {
    fn may_pass(&self, now: Instant) -> Result<(), UpstreamError> {
        match left(self.limited_until, now) {
            Some(left) => Err(UpstreamError::Limited { retry_after: Some(left) }),
            None if self.open.lasts(now) => Err(UpstreamError::Resting),
            None => Ok(()),
        }
    }

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
mod tests;
