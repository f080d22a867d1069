//! When a child's silence is its death. Pure: told the time, never asks for it.

use std::time::{Duration, Instant};

/// How long a child that lives may be silent; it says something five times as often.
const SILENCE: Duration = Duration::from_secs(1);
/// How long it may take to say something at all: it has no port before that, so that nobody waits for it.
const BEGIN: Duration = Duration::from_secs(10);
/// How long it may be silent once it was told to stop: the last threads are waited for at the very end.
const END: Duration = Duration::from_secs(5);
/// A look that comes so long after the last one came late: the machine stood still, was stopped or overloaded, and the
/// child had no more of it than the supervisor.
const LATE: Duration = Duration::from_millis(500);

/// What a look at the child found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It said something.
    Beat,
    /// It would if it had a processor.
    Hunger,
    None,
}

/// Watches over one child.
#[derive(Debug)]
pub(super) struct Watchdog {
    begun: bool,
    silence: Duration,
    /// When silence is death.
    until: Instant,
    looked: Instant,
}

impl Watchdog {
    /// For a child that starts `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { begun: false, silence: SILENCE, until: now + BEGIN, looked: now }
    }

    /// Whether the child has said anything yet.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The child was told to stop.
    pub(super) fn stopping(&mut self) {
        self.silence = END;
        self.until += END - SILENCE;
    }

    /// Takes in what was seen of the child since the last look; true when it is to be killed, once for each silence.
    pub(super) fn look(&mut self, now: Instant, sign: Sign) -> bool {
        let late = now.duration_since(self.looked) >= LATE;
        self.looked = now;
        self.begun |= sign == Sign::Beat;
        match sign {
            Sign::Beat => self.until = now + self.silence,
            Sign::None if !late => {}
            Sign::Hunger | Sign::None => self.until = self.until.max(now + self.silence),
        }
        let dead = now >= self.until;
        if dead {
            // Killed, it ends soon; should it not, it is killed again.
            self.until = now + BEGIN;
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(200);

    /// A watchdog with a child that has begun, and the time.
    fn begun() -> (Watchdog, Instant) {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(now);
        assert!(!watchdog.look(now + TURN, Sign::Beat) && watchdog.has_begun());
        (watchdog, now + TURN)
    }

    /// Looks in turns, without a sign of the child, until it is to be killed; after how long.
    fn silent_for(watchdog: &mut Watchdog, from: Instant) -> Duration {
        let mut now = from;
        loop {
            now += TURN;
            if watchdog.look(now, Sign::None) {
                return now - from;
            }
            assert!(now - from < Duration::from_secs(60));
        }
    }

    #[test]
    fn n6_a_child_is_dead_after_a_second_of_silence_and_not_before() {
        let (mut watchdog, now) = begun();
        assert_eq!(silent_for(&mut watchdog, now), SILENCE);
    }

    #[test]
    fn n6_a_child_that_says_something_lives() {
        let (mut watchdog, mut now) = begun();
        for turn in 0..1000 {
            now += TURN;
            let sign = if turn % 4 == 0 { Sign::Beat } else { Sign::None };
            assert!(!watchdog.look(now, sign), "{turn}");
        }
    }

    #[test]
    fn n6_a_child_that_gets_no_processor_lives_until_it_has_one_and_is_silent_all_the_same() {
        let (mut watchdog, mut now) = begun();
        for turn in 0..1000 {
            now += TURN;
            // Now and then it is seen between two turns.
            let sign = if turn % 4 == 0 { Sign::Hunger } else { Sign::None };
            assert!(!watchdog.look(now, sign), "{turn}");
        }
        assert!(!watchdog.look(now, Sign::Hunger));
        assert_eq!(silent_for(&mut watchdog, now), SILENCE);
    }

    #[test]
    fn n6_a_supervisor_that_stood_still_itself_gives_the_child_another_second() {
        let (mut watchdog, now) = begun();
        for stood_still in [LATE, Duration::from_secs(3600)] {
            assert!(!watchdog.look(now + stood_still, Sign::None), "{stood_still:?}");
        }
        assert_eq!(silent_for(&mut watchdog, now + Duration::from_secs(3600)), SILENCE);
    }

    #[test]
    fn a_child_that_starts_or_stops_may_take_its_time() {
        let now = Instant::now();
        assert_eq!(silent_for(&mut Watchdog::new(now), now), BEGIN);
        let (mut watchdog, now) = begun();
        watchdog.stopping();
        assert_eq!(silent_for(&mut watchdog, now), END);
    }
}
