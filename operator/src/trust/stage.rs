//! What is due with the authorities: a pure function of what is there and the time.
//!
//! A new authority first stands beside the one that signs: every member and agent believes it before the first
//! certificate of it is shown. That all are told is seen, not taken for granted, and since when is kept with the
//! authorities, so that a restart does not begin anew. Then it signs. The old one is believed until it ends, and no certificate outlives its
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
    /// Whether everybody is told of the next.
    pub(super) is_told: bool,
    /// Since when that was so.
    pub(super) told: Option<SystemTime>,
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
    /// Note that from now on everybody is told of the next one.
    Tell,
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
        (Some(current), Some(next)) => match promotion(held, (current, next), now, lifetime) {
            None => return Step::Tell,
            Some(due) if due <= now => return Step::Promote,
            Some(due) => due.min(current.ends),
        },
    };
    Step::Wait(held.previous.iter().map(|previous| previous.ends).fold(due, SystemTime::min))
}

/// When `next` may sign; none if it was not noted yet that everybody is told of it.
fn promotion(
    held: &Held,
    (current, next): (Validity, Validity),
    now: SystemTime,
    lifetime: Duration,
) -> Option<SystemTime> {
    let spread = spread(lifetime);
    if !held.is_told {
        // Those who are not told lose either way. The others must not all need new certificates in the last moment.
        return Some((current.ends - spread).max(next.made() + spread));
    }
    // A time to come was noted by a clock that was wrong.
    let told = held.told.filter(|told| *told <= now + spread)?;
    Some(told + spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(360_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn made(seconds: u64) -> Validity {
        Validity::from(at(seconds), LIFE)
    }

    /// What a caller does with the steps, on the times alone.
    fn run(held: Held, now: SystemTime) -> (Held, Vec<Step>, SystemTime) {
        run_and_tell(held, now, true)
    }

    /// As [`run`], where of a new authority everybody is told at once, or not.
    fn run_and_tell(mut held: Held, now: SystemTime, everybody: bool) -> (Held, Vec<Step>, SystemTime) {
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
                    (held.is_told, held.told) = (everybody, None);
                }
                Step::Tell => held.told = Some(now),
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
        assert_eq!((steps, signs), (vec![Step::Prepare, Step::Tell], due + HOUR));
        let (held, steps, forgotten) = run(held, signs);
        assert_eq!((steps, forgotten), (vec![Step::Promote], made(0).ends));
        let (held, steps, again) = run(held, forgotten);
        assert_eq!(steps, [Step::Forget]);
        assert_eq!(again, held.current.unwrap().renew_at(LIFE));
    }

    fn rotating() -> Held {
        Held { current: Some(made(0)), next: Some(made(240_000)), ..Held::default() }
    }

    #[test]
    fn it_signs_an_hour_after_everybody_was_told_and_a_restart_does_not_matter() {
        let (held, steps, due) = run(Held { is_told: true, ..rotating() }, at(300_000));
        assert_eq!((steps, due), (vec![Step::Tell], at(303_600)));
        let restarted = || Held { is_told: held.is_told, told: held.told, ..rotating() };
        assert_eq!(step(&restarted(), at(303_599), LIFE), Step::Wait(at(303_600)));
        assert_eq!(step(&restarted(), at(303_600), LIFE), Step::Promote);
        // A clock that was wrong costs an hour.
        let (_, steps, due) = run(Held { is_told: true, told: Some(at(9_000_000)), ..rotating() }, at(300_000));
        assert_eq!((steps, due), (vec![Step::Tell], at(303_600)));
    }

    #[test]
    fn it_does_not_sign_while_somebody_is_not_told_unless_there_is_no_more_time() {
        let (ends, told) = (made(0).ends, Some(at(241_000)));
        for held in [rotating(), Held { told, ..rotating() }] {
            for seconds in [240_000, 243_600, 300_000] {
                assert_eq!(step(&held, at(seconds), LIFE), Step::Wait(ends - HOUR));
            }
            assert_eq!(step(&held, ends - HOUR, LIFE), Step::Promote);
        }
        // Made in the last hour: time to tell comes first, for as long as there is any.
        let (late, steps, due) =
            run_and_tell(Held { current: Some(made(0)), ..Held::default() }, ends - HOUR / 2, false);
        assert_eq!((steps, due), (vec![Step::Prepare], ends));
        assert_eq!(run(late, ends).1, [Step::Forget, Step::Promote]);
    }

    #[test]
    fn after_years_away_it_starts_anew() {
        assert_eq!(run(rotating(), at(9_000_000)).1, [Step::Forget, Step::Begin]);
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
