//! Whether a cell keeps the promise.

use std::time::Duration;

use super::{Cell, Expect, Outcome, Pull};

/// How much longer than the plain node a pull may take: this factor, and what finding out costs (design N6).
const FACTOR: f64 = 1.2;
const DETECTION: Duration = Duration::from_secs(2);
/// Requests that were answered twice are no way around: a thousandth of an image is less than its smallest layer.
const ALL: f64 = 0.999;

/// Whether a cell keeps the promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does, or nothing is promised.
    Kept,
    /// It does not, and why.
    Broken(String),
}

/// Judges a cell of a state.
pub fn judge(cell: &Cell, expect: Expect) -> Verdict {
    match broken(cell, expect) {
        Some(why) if expect != Expect::Outside => Verdict::Broken(why.to_owned()),
        Some(_) | None => Verdict::Kept,
    }
}

fn broken(cell: &Cell, expect: Expect) -> Option<&'static str> {
    match (cell.with, cell.plain) {
        (Outcome::Pulled(with), Outcome::Pulled(plain)) if with > plain.mul_f64(FACTOR) + DETECTION => {
            Some("slower than 1.2 times the plain node and 2 s")
        }
        (Outcome::Failed(_) | Outcome::Hung(_), Outcome::Pulled(_)) => Some("the plain node's pull succeeded"),
        (Outcome::Failed(_) | Outcome::Hung(_), _) if cell.pull == Pull::Warm => Some("the mirror keeps the contents"),
        (_, Outcome::Failed(_) | Outcome::Hung(_)) if expect != Expect::UpstreamGone => {
            Some("the plain node's pull failed, so there is nothing to compare")
        }
        (Outcome::Pulled(_), _) if expect == Expect::Mirror && cell.through < ALL => {
            Some("the mirror was gone around, which nothing called for")
        }
        (Outcome::Pulled(_) | Outcome::Failed(_) | Outcome::Hung(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Containerd;

    const TEN: Outcome = Outcome::Pulled(Duration::from_secs(10));

    fn cell(pull: Pull, with: Outcome, plain: Outcome) -> Cell {
        Cell { runtime: Containerd::V2_4, pull, with, plain, through: 1.0 }
    }

    fn kept(cell: &Cell, expect: Expect) -> bool {
        judge(cell, expect) == Verdict::Kept
    }

    #[test]
    fn a_pull_may_take_a_fifth_and_two_seconds_longer() {
        let after = |ms| Outcome::Pulled(Duration::from_millis(ms));
        assert!(kept(&cell(Pull::Cold, after(14_000), TEN), Expect::Either));
        assert!(!kept(&cell(Pull::Cold, after(14_100), TEN), Expect::Either));
        assert!(kept(&cell(Pull::Cold, after(60_000), TEN), Expect::Outside));
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
    fn with_upstream_gone_warm_contents_are_had_and_cold_ones_may_not_be() {
        let failed = Outcome::Failed(Duration::from_secs(1));
        assert!(kept(&cell(Pull::Cold, failed, failed), Expect::UpstreamGone));
        assert!(!kept(&cell(Pull::Warm, failed, failed), Expect::UpstreamGone));
        assert!(kept(&cell(Pull::Warm, TEN, failed), Expect::UpstreamGone));
        assert!(!kept(&cell(Pull::Cold, TEN, failed), Expect::Either), "a reference that fails is none");
    }

    #[test]
    fn a_mirror_that_was_never_used_is_no_success_where_nothing_is_broken() {
        let around = Cell { through: 0.9, ..cell(Pull::Cold, TEN, TEN) };
        assert!(!kept(&around, Expect::Mirror));
        assert!(kept(&around, Expect::Either));
    }
}
