//! `spec.proxy`: how many members there are.

use tidepool_api::RegistryMirrorSpec;

use super::Invalid;

/// Few enough that agents ask them all when they must, and that they roll one by one within the hour.
const MOST: i32 = 16;

/// How many members a mirror has; the nearest that there may be, where its spec is older than the rule.
#[must_use]
pub fn replicas(spec: &RegistryMirrorSpec) -> i32 {
    spec.proxy.as_ref().map_or(1, |proxy| proxy.replicas).clamp(1, MOST)
}

pub(super) fn check(spec: &RegistryMirrorSpec, faults: &mut Vec<Invalid>) {
    let said = spec.proxy.as_ref().map_or(1, |proxy| proxy.replicas);
    if said != replicas(spec) {
        faults.push(Invalid::spec("spec.proxy.replicas", format!("{said} is no number of members: use 1 to {MOST}")));
    }
}
