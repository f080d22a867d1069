//! Whether a cell keeps the promise.

use std::time::Duration;

use super::{Cell, Expect, Outcome, Pull};

/// How much longer than the plain node a pull may take: this factor, and what finding out costs (design N6).
const FACTOR: f64 = 1.2;
const DETECTION: Duration = Duration::from_secs(2);
/// Of what is kept, with one of two members left: some of it is the other's alone, and asked for around the mirror.
const HALF: f64 = 0.5;
/// Requests that were answered twice are no way around: a thousandth of an image is less than its smallest layer.
const ALL: f64 = 0.999;

/// Whether a cell keeps the promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Kept,
    /// It does not, and why.
    Broken(String),
}

/// Judges a cell of a state.
pub fn judge(cell: &Cell, expect: Expect) -> Verdict {
    let why = failed(cell).or_else(|| too_long(cell, expect)).or_else(|| untrue(cell, expect));
    why.map_or(Verdict::Kept, |why| Verdict::Broken(why.to_owned()))
}

/// A pull that fails is bounded as one that succeeds is: a runtime that learns late that it gets nothing tries late again.
/// But it is not late for as long as it gets something: the mirror holds layers of which a plain node had a part only.
fn too_long(cell: &Cell, expect: Expect) -> Option<&'static str> {
    let measure = match (cell.with, cell.plain) {
        // Nothing is asked of an upstream for what is kept, so nothing is waited for.
        (Outcome::Pulled(_), Outcome::Failed(_) | Outcome::Hung(_)) if cell.pull == Pull::Warm => cell.usual,
        (Outcome::Pulled(_), Outcome::Failed(plain)) => plain.max(cell.usual),
        (Outcome::Failed(_), Outcome::Failed(plain)) => plain.max(cell.carried),
        (_, Outcome::Pulled(plain) | Outcome::Failed(plain)) => plain,
        (_, Outcome::Hung(_)) => return None,
    };
    let more = if let Expect::Outside(more) = expect { more } else { DETECTION };
    let (Outcome::Pulled(with) | Outcome::Failed(with) | Outcome::Hung(with)) = cell.with;
    (with > measure.mul_f64(FACTOR) + more).then_some("slower than the plain node may make it")
}

fn failed(cell: &Cell) -> Option<&'static str> {
    match (cell.with, cell.plain) {
        (Outcome::Pulled(_), _) => None,
        (_, Outcome::Pulled(_)) => Some("the plain node's pull succeeded"),
        _ if cell.pull == Pull::Warm => Some("the mirror keeps the contents"),
        (Outcome::Hung(_), Outcome::Failed(_)) => Some("the plain node's pull ended"),
        _ => None,
    }
}

/// What must be true of the state beside the promise, and what shows that it was there.
fn untrue(cell: &Cell, expect: Expect) -> Option<&'static str> {
    let plain_pulled = matches!(cell.plain, Outcome::Pulled(_));
    match expect {
        Expect::UpstreamGone if plain_pulled && cell.pull != Pull::Running => {
            Some("the plain node's pull succeeded: the fault did not strike")
        }
        Expect::UpstreamGone => None,
        _ if !plain_pulled => Some("the plain node's pull failed, so there is nothing to compare"),
        Expect::Mirror if cell.through < ALL => Some("the mirror was gone around, which nothing called for"),
        Expect::Half if cell.pull != Pull::Cold && cell.through < HALF => {
            Some("the mirror was gone around, though a member was left")
        }
        Expect::Mirror | Expect::Half | Expect::Either | Expect::Outside(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Containerd;

    const TEN: Outcome = after(10_000);

    const fn after(ms: u64) -> Outcome {
        Outcome::Pulled(Duration::from_millis(ms))
    }

    fn failed_after(seconds: u64) -> Outcome {
        Outcome::Failed(Duration::from_secs(seconds))
    }

    fn cell(pull: Pull, with: Outcome, plain: Outcome) -> Cell {
        let (usual, carried) = (Duration::from_secs(10), Duration::ZERO);
        Cell { runtime: Containerd::V2_4, pull, with, plain, through: 1.0, carried, usual }
    }

    fn kept(cell: &Cell, expect: Expect) -> bool {
        judge(cell, expect) == Verdict::Kept
    }

    #[test]
    fn a_pull_may_take_a_fifth_and_two_seconds_longer() {
        assert!(kept(&cell(Pull::Cold, after(14_000), TEN), Expect::Either));
        assert!(!kept(&cell(Pull::Cold, after(14_100), TEN), Expect::Either));
        let outside = Expect::Outside(Duration::from_secs(20));
        assert!(kept(&cell(Pull::Cold, after(32_000), TEN), outside));
        assert!(!kept(&cell(Pull::Cold, after(32_100), TEN), outside));
    }

    #[test]
    fn a_pull_that_fails_may_not_fail_later() {
        for (with, is_kept) in
            [(failed_after(3), true), (failed_after(4), false), (Outcome::Hung(Duration::MAX), false)]
        {
            assert_eq!(kept(&cell(Pull::Cold, with, failed_after(1)), Expect::UpstreamGone), is_kept, "{with:?}");
        }
        let hung = Outcome::Hung(Duration::from_secs(60));
        assert!(kept(&cell(Pull::Cold, hung, hung), Expect::UpstreamGone));
    }

    #[test]
    fn a_pull_that_fails_is_not_late_while_contents_come() {
        let got = |seconds, with| Cell {
            carried: Duration::from_secs(seconds),
            ..cell(Pull::Running, with, failed_after(3))
        };
        for (carried, with, is_kept) in [(6, 9, true), (6, 10, false), (3, 6, false), (0, 6, false), (1, 5, true)] {
            assert_eq!(kept(&got(carried, failed_after(with)), Expect::UpstreamGone), is_kept, "{carried} {with}");
        }
        assert!(!kept(&got(60, Outcome::Hung(Duration::from_secs(60))), Expect::UpstreamGone));
        let pulled = Cell { carried: Duration::from_secs(60), ..cell(Pull::Running, after(14_100), TEN) };
        assert!(!kept(&pulled, Expect::Either), "what came twice is no excuse");
    }

    #[test]
    fn a_pull_that_the_plain_node_makes_must_not_fail() {
        for end in [Outcome::Failed(Duration::ZERO), Outcome::Hung(Duration::from_secs(60))] {
            for pull in Pull::ALL {
                assert!(!kept(&cell(pull, end, TEN), Expect::UpstreamGone));
            }
        }
    }

    #[test]
    fn with_upstream_gone_warm_contents_are_had_as_usual_and_cold_ones_may_not_be() {
        let (failed, hung) = (failed_after(1), Outcome::Hung(Duration::from_secs(60)));
        assert!(kept(&cell(Pull::Cold, failed, failed), Expect::UpstreamGone));
        assert!(!kept(&cell(Pull::Warm, failed, failed), Expect::UpstreamGone));
        for plain in [failed, hung] {
            assert!(kept(&cell(Pull::Warm, after(14_000), plain), Expect::UpstreamGone));
            assert!(!kept(&cell(Pull::Warm, after(14_100), plain), Expect::UpstreamGone));
        }
        assert!(!kept(&cell(Pull::Cold, TEN, failed), Expect::Either), "a reference that fails is none");
    }

    #[test]
    fn a_fault_of_upstream_that_the_plain_node_does_not_feel_is_none() {
        assert!(!kept(&cell(Pull::Warm, TEN, TEN), Expect::UpstreamGone));
        assert!(kept(&cell(Pull::Running, TEN, TEN), Expect::UpstreamGone), "it may have had all by then");
    }

    #[test]
    fn a_mirror_that_is_gone_around_without_need_is_no_success() {
        let around = |pull, through| Cell { through, ..cell(pull, TEN, TEN) };
        assert!(!kept(&around(Pull::Cold, 0.9), Expect::Mirror));
        assert!(kept(&around(Pull::Cold, 0.0), Expect::Either));
        for pull in [Pull::Warm, Pull::Running] {
            assert!(!kept(&around(pull, 0.4), Expect::Half) && kept(&around(pull, 0.6), Expect::Half));
        }
        assert!(kept(&around(Pull::Cold, 0.0), Expect::Half));
    }
}
