//! What is due with the authorities: a pure function of what is there and the time.
//!
//! A new authority first stands beside the one that signs: every member and agent believes it before the first
//! certificate of it is shown. Then it signs. The old one is believed until it ends, and no certificate outlives its
//! authority, so at each moment all that is shown is believed.

use std::time::{Duration, SystemTime};

use super::lifetimes::{Validity, spread};

/// The authorities that are there, by their times.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// The one that signs.
    pub(super) current: Option<Validity>,
    /// The one that will sign.
    pub(super) next: Option<Validity>,
    /// Since when this process has told everybody of the next. A predecessor may have ended before it did.
    pub(super) next_told: Option<SystemTime>,
    /// Those that signed before.
    pub(super) previous: Vec<Validity>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Drop what has ended.
    Forget,
    /// There is none: make one that signs at once.
    Begin,
    /// Make the next one, which does not sign yet.
    Prepare,
    /// Let the next one sign.
    Promote,
    /// Nothing until then.
    Wait(SystemTime),
}

/// The next step. To be asked until it says [`Step::Wait`].
pub(super) fn step(held: &Held, now: SystemTime, lifetime: Duration) -> Step {
    let ended = |validity: &Validity| validity.ends <= now;
    if held.previous.iter().chain(&held.current).chain(&held.next).any(ended) {
        return Step::Forget;
    }
    let due = match (held.current, held.next) {
        (None, None) => return Step::Begin,
        // Late is better than never.
        (None, Some(_)) => return Step::Promote,
        (Some(current), None) => match current.renew_at(lifetime) {
            due if due <= now => return Step::Prepare,
            due => due,
        },
        (Some(current), Some(next)) => {
            let told = held.next_told.unwrap_or(now).max(next.made());
            match told + spread(lifetime) {
                due if due <= now => return Step::Promote,
                due => due.min(current.ends),
            }
        }
    };
    Step::Wait(held.previous.iter().map(|previous| previous.ends).fold(due, SystemTime::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(360_000);
    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn made(seconds: u64) -> Validity {
        Validity::from(at(seconds), LIFE)
    }

    /// What a caller does with the steps, on the times alone.
    fn run(mut held: Held, now: SystemTime) -> (Held, Vec<Step>, SystemTime) {
        let mut steps = Vec::new();
        loop {
            let due = step(&held, now, LIFE);
            match due {
                Step::Wait(until) => return (held, steps, until),
                Step::Forget => {
                    held.previous.retain(|validity| validity.ends > now);
                    held.current = held.current.filter(|validity| validity.ends > now);
                    held.next = held.next.filter(|validity| validity.ends > now);
                }
                Step::Begin => held.current = Some(Validity::from(now, LIFE)),
                Step::Prepare => {
                    held.next = Some(Validity::from(now, LIFE));
                    held.next_told = Some(now);
                }
                Step::Promote => {
                    held.previous.extend(held.current.take());
                    held.current = held.next.take();
                }
            }
            steps.push(due);
            assert!(steps.len() < 10, "it never ends: {steps:?}");
        }
    }

    #[test]
    fn a_rotation_is_prepared_spread_made_and_forgotten() {
        let (held, steps, due) = run(Held::default(), at(0));
        assert_eq!(steps, [Step::Begin]);
        assert_eq!(due, made(0).begins + LIFE * 2 / 3);
        let (held, steps, signs) = run(held, due);
        assert_eq!((steps, signs), (vec![Step::Prepare], due + Duration::from_secs(3600)));
        let (held, steps, forgotten) = run(held, signs);
        assert_eq!((steps, forgotten), (vec![Step::Promote], made(0).ends));
        let (held, steps, again) = run(held, forgotten);
        assert_eq!(steps, [Step::Forget]);
        assert_eq!(again, held.current.unwrap().renew_at(LIFE));
    }

    #[test]
    fn one_that_a_predecessor_made_signs_only_after_we_told_of_it_as_long() {
        let mut held = Held { current: Some(made(0)), next: Some(made(240_000)), ..Held::default() };
        held.next_told = Some(at(300_000));
        assert_eq!(step(&held, at(300_001), LIFE), Step::Wait(at(303_600)));
        assert_eq!(step(&held, at(303_600), LIFE), Step::Promote);
        // Unless nothing else can sign.
        held.next_told = Some(at(359_000));
        assert_eq!(step(&held, at(359_100), LIFE), Step::Wait(made(0).ends));
        assert_eq!(run(held, made(0).ends).1, [Step::Forget, Step::Promote]);
    }

    #[test]
    fn after_years_away_it_starts_anew() {
        let held = Held { current: Some(made(0)), next: Some(made(240_000)), ..Held::default() };
        assert_eq!(run(held, at(9_000_000)).1, [Step::Forget, Step::Begin]);
    }

    #[test]
    fn at_every_moment_of_years_a_certificate_that_was_issued_is_believed() {
        let (mut held, mut leaves) = (Held::default(), Vec::<(Validity, SystemTime)>::new());
        for minute in 0..60 * 24 * 14 {
            let now = at(minute * 60);
            held = run(held, now).0;
            let signs = held.current.unwrap();
            let leaf = Validity::from(now, LIFE / 3);
            leaves.push((signs, leaf.ends.min(signs.ends)));
            leaves.retain(|(_, ends)| *ends > now);
            let bundle: Vec<_> = held.previous.iter().chain(&held.current).chain(&held.next).collect();
            assert!(leaves.iter().all(|(signer, _)| bundle.contains(&signer)), "minute {minute}");
            assert!(bundle.len() <= 3);
        }
    }
}
