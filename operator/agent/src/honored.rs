//! Whether the node's runtime was seen to read what the agent wrote: the only proof there is (design N5).

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::node::RuntimeVersion;

/// What proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// A pull of a mirrored registry.
    Pull,
    /// The pull of the operator's probe pod.
    Probe,
}

/// A proof, and of what: another runtime, or another configuration, has to prove it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// What was seen.
    pub evidence: Evidence,
    /// The runtime, as it was then.
    pub runtime: RuntimeVersion,
    /// What its configuration said then, in a word.
    pub configuration: String,
}

const NOTHING: u8 = 0;
const PULL: u8 = 1;
const PROBE: u8 = 2;

/// What the listener has seen; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Honored(Arc<(AtomicU8, Notify)>);

impl Honored {
    /// Notes a pull.
    pub fn set(&self) {
        self.note(PULL);
    }

    /// Notes the probe pod's pull.
    pub fn set_by_probe(&self) {
        self.note(PROBE);
    }

    /// The first counts: the second has nothing to add, and would only be one more write.
    fn note(&self, what: u8) {
        if self.0.0.compare_exchange(NOTHING, what, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.0.1.notify_one();
        }
    }

    /// Whether anything was seen.
    #[must_use]
    pub fn get(&self) -> bool {
        self.evidence().is_some()
    }

    /// What was seen first.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        match self.0.0.load(Ordering::Acquire) {
            PULL => Some(Evidence::Pull),
            PROBE => Some(Evidence::Probe),
            _ => None,
        }
    }

    /// Forgets it: the runtime is another one now.
    pub fn reset(&self) {
        self.0.0.store(NOTHING, Ordering::Release);
    }

    /// Waits until something is noted; one waiter.
    pub async fn noted(&self) {
        self.0.1.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_evidence_stays_until_it_is_forgotten() {
        let honored = Honored::default();
        assert_eq!(honored.evidence(), None);
        honored.set_by_probe();
        honored.set();
        assert_eq!(honored.evidence(), Some(Evidence::Probe));
        honored.reset();
        honored.set();
        assert_eq!(honored.evidence(), Some(Evidence::Pull));
    }
}
