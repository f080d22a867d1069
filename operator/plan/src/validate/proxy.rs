//! `spec.proxy`: how many members there are.

use std::ops::RangeInclusive;

use super::Invalid;

/// One would be enough to serve every node; more hold more, and one that restarts is missed less.
const REPLICAS: RangeInclusive<i32> = 1..=16;

pub(super) fn replicas(raw: i32, faults: &mut Vec<Invalid>) -> i32 {
    if !REPLICAS.contains(&raw) {
        let message = format!("{raw} is no number of members: use {} to {}", REPLICAS.start(), REPLICAS.end());
        faults.push(Invalid::spec("spec.proxy.replicas", message));
    }
    raw.clamp(*REPLICAS.start(), *REPLICAS.end())
}
