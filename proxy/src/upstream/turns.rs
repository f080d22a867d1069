//! How many show a password at the same time.
//!
//! A herd of pulls with a wrong password is to be a few refusals, for registries lock accounts. So one goes alone until
//! the password is accepted or while it is in doubt; then two, and one more with each that is accepted, as long as the
//! herd lasts. A password that went bad since the last herd is so found out by the first two of the next.

use std::{sync::Mutex, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::UpstreamError;
use crate::tasks::lock;

/// At once at the beginning of a herd: with one more look at what both were refused, three showings.
const FEWEST: u32 = 2;
/// At once at most.
const MOST: u32 = 32;
/// Refusals come within this: whoever waits longer for an answer need not keep others from asking.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// The turns of one password, taken first come first served.
#[derive(Debug)]
pub(super) struct Turns {
    lane: Mutex<Lane>,
    freed: Notify,
}

#[derive(Debug)]
struct Lane {
    /// It was accepted, and nothing speaks against it since.
    sure: bool,
    width: u32,
    going: u32,
    waiting: u32,
}

/// Leave to show the password, for as long as it is held.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    waited: bool,
}

/// A place in the line.
struct Place<'a>(&'a Turns);

impl Default for Turns {
    fn default() -> Self {
        Self { lane: Mutex::new(Lane { sure: false, width: FEWEST, going: 0, waiting: 0 }), freed: Notify::new() }
    }
}

impl Turns {
    /// Waits for a turn until then.
    pub(super) async fn take(&self, until: Instant) -> Result<Turn<'_>, UpstreamError> {
        let mut place = None;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable(); // before the look: what is freed in between is not missed
            if self.enter(&mut place) {
                return Ok(Turn { turns: self, waited: place.is_some() });
            }
            timeout_at(until, freed).await.map_err(|_| UpstreamError::Crowded)?;
        }
    }

    /// Goes, or is in the line: under one lock, so that whoever leaves in between knows of it.
    fn enter<'a>(&'a self, place: &mut Option<Place<'a>>) -> bool {
        let mut lane = lock(&self.lane);
        let free = lane.going < lane.allowed() && (place.is_some() || lane.waiting == 0);
        if free {
            lane.going += 1;
        } else if place.is_none() {
            lane.waiting += 1;
            *place = Some(Place(self));
        }
        free
    }

    /// Goes on alone with what is in doubt now: nobody else gets a turn meanwhile.
    pub(super) async fn alone<'a>(&'a self, turn: Turn<'a>, until: Instant) -> Result<Turn<'a>, UpstreamError> {
        let is_last = {
            let mut lane = lock(&self.lane);
            lane.sure = false;
            lane.going == 1
        };
        if is_last {
            return Ok(turn);
        }
        drop(turn);
        self.take(until).await
    }

    /// The password was accepted.
    pub(super) fn widen(&self) {
        self.change(|lane| {
            if lane.sure {
                lane.width = (lane.width + 1).min(MOST);
            }
            lane.sure = true;
        });
    }

    /// It was refused.
    pub(super) fn narrow(&self) {
        self.change(|lane| (lane.sure, lane.width) = (false, FEWEST));
    }

    fn change(&self, change: impl FnOnce(&mut Lane)) {
        let mut lane = lock(&self.lane);
        change(&mut lane);
        for _ in 0..lane.allowed().saturating_sub(lane.going).min(lane.waiting) {
            self.freed.notify_one();
        }
    }
}

impl Lane {
    fn allowed(&self) -> u32 {
        if self.sure { self.width } else { 1 }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.change(|lane| lane.waiting -= 1);
    }
}

impl Turn<'_> {
    /// What comes of `work` until then. Where the wait for the turn took of the time, that it is late says nothing about
    /// the registry.
    pub(super) async fn within<T>(
        &self,
        until: Instant,
        work: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let begun = Instant::now();
        timeout_at(until, work).await.unwrap_or_else(|_| Err(late(self.waited, begun.elapsed())))
    }

    /// As [`Self::within`]; where the password was sure, slow work goes on without the turn, which others may have.
    pub(super) async fn lent<T>(
        self,
        until: Instant,
        work: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<(Option<Self>, T), UpstreamError> {
        let (begun, waited) = (Instant::now(), self.waited);
        tokio::pin!(work);
        let quick = timeout_at(until.min(begun + REFUSED_WITHIN), work.as_mut()).await;
        if let Ok(done) = quick {
            return Ok((Some(self), done?));
        }
        let sure = lock(&self.turns.lane).sure;
        let held = Some(self).filter(|_| !sure);
        let done = timeout_at(until, work).await.unwrap_or_else(|_| Err(late(waited, begun.elapsed())));
        Ok((held, done?))
    }
}

fn late(waited: bool, silent: Duration) -> UpstreamError {
    if waited { UpstreamError::Crowded } else { UpstreamError::Silent(silent) }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.change(|lane| {
            lane.going -= 1;
            if lane.going == 0 && lane.waiting == 0 {
                lane.width = FEWEST;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    const LOGIN: Duration = Duration::from_millis(300);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(8)
    }

    /// A herd of logins of which none is refused: how long it took, and how many went at once.
    async fn herd(turns: &Arc<Turns>, count: u32) -> (Duration, u32) {
        let (begun, most) = (Instant::now(), Arc::new(AtomicU32::new(0)));
        let logins: Vec<_> = (0..count)
            .map(|_| {
                let (turns, most) = (Arc::clone(turns), Arc::clone(&most));
                tokio::spawn(async move {
                    let turn = turns.take(soon()).await.unwrap();
                    most.fetch_max(lock(&turns.lane).going, Ordering::Relaxed);
                    tokio::time::sleep(LOGIN).await;
                    turns.widen();
                    drop(turn);
                })
            })
            .collect();
        for login in logins {
            login.await.unwrap();
        }
        (begun.elapsed(), most.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_herd_of_a_right_password_begins_narrow_and_is_through_within_a_pulls_patience() {
        let turns = Arc::new(Turns::default());
        for _ in 0..2 {
            let (took, most) = herd(&turns, 200).await;
            assert!(took <= 12 * LOGIN && most == MOST, "{took:?} {most}");
            assert_eq!(lock(&turns.lane).width, FEWEST, "the next herd begins anew");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_goes_alone_until_it_is_accepted_and_again_in_doubt() {
        let turns = Turns::default();
        let first = turns.take(soon()).await.unwrap();
        assert!(matches!(turns.take(soon()).await, Err(UpstreamError::Crowded)));
        turns.widen();
        let second = turns.take(soon()).await.unwrap();
        assert!(turns.take(soon()).await.is_err());
        let waits = turns.alone(first, soon());
        tokio::pin!(waits);
        assert!(futures::poll!(waits.as_mut()).is_pending());
        let alone = turns.alone(second, soon()).await.unwrap();
        assert!(turns.take(soon()).await.is_err());
        turns.narrow();
        drop(alone);
        assert!(waits.await.is_ok(), "one after the other hears of the refusal");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_the_line_is_no_silence_of_the_registry() {
        let turns = Turns::default();
        let first = turns.take(soon()).await.unwrap();
        let never = std::future::pending::<Result<(), _>>;
        assert!(matches!(first.within(soon(), never()).await, Err(UpstreamError::Silent(_))));
        let (second, ()) = tokio::join!(turns.take(soon()), async { drop(first) });
        let late = second.unwrap().within(soon(), never()).await;
        assert!(matches!(late, Err(UpstreamError::Crowded)), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_leaves_its_turn_to_the_next() {
        let turns = Turns::default();
        let first = turns.take(soon()).await.unwrap();
        let mut leaves = Box::pin(turns.take(soon()));
        let stays = turns.take(soon());
        tokio::pin!(stays);
        assert!(futures::poll!(leaves.as_mut()).is_pending() && futures::poll!(stays.as_mut()).is_pending());
        drop(first);
        drop(leaves);
        assert!(stays.await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_sleeps_through_a_turn_given_back_while_they_join_the_line() {
        let turns = Arc::new(Turns::default());
        let crowd: Vec<_> = (0..4)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move {
                    for _ in 0..20_000 {
                        drop(turns.take(soon()).await.unwrap());
                    }
                })
            })
            .collect();
        for one in crowd {
            one.await.unwrap();
        }
    }
}
