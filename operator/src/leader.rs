//! Which of several operator processes leads: the others stand by with full caches and write nothing.
//!
//! By the rules of Kubernetes' own components: a Lease is read and then replaced at the very version that was read, so of
//! two who want it one gets it. Whether its holder is alive is judged by when a candidate last saw it change, never by
//! times that stand in it: clocks differ. A leader that cannot renew stops writing well before another may begin.

mod elect;
mod gate;
mod lease;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) use elect::Elector;
pub use elect::LeaseLost;
pub(crate) use gate::gated;

/// Another may take a lease that was not seen to change for so long.
const LEASE: Duration = Duration::from_secs(15);
/// Who could not renew for so long leads no more. The difference is for requests that are still on their way.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often it is renewed, or tried.
const RETRY: Duration = Duration::from_secs(2);
/// A request that takes longer is given up, so that a dead connection does not cost the lease.
const REQUEST_WITHIN: Duration = Duration::from_secs(4);
/// How long giving it back may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);
/// An operator of a version that knew no lease writes until its pod is gone, which Kubernetes ends once ours is ready:
/// readiness is seen within seconds, and then the old one stops within ten.
const SUCCEED_AFTER: Duration = Duration::from_secs(30);

/// Whether this process leads, to be asked before each batch of writes.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(Arc<Mutex<Hold>>);

#[derive(Clone, Copy, Debug)]
enum Hold {
    None,
    Until(Instant),
    /// There is nobody else.
    Always,
}

/// This process leads no more: another may be writing.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this process does not lead any more")]
pub(crate) struct NotLeading;

impl Leadership {
    /// That of a process that runs alone.
    pub(crate) fn alone() -> Self {
        Self(Arc::new(Mutex::new(Hold::Always)))
    }

    /// That of a process that does not lead yet.
    pub(crate) fn none() -> Self {
        Self(Arc::new(Mutex::new(Hold::None)))
    }

    /// Whether the lease is held at this moment.
    pub(crate) fn is_held(&self) -> bool {
        match *self.hold() {
            Hold::None => false,
            Hold::Until(deadline) => Instant::now() < deadline,
            Hold::Always => true,
        }
    }

    /// As an error, for the head of what writes.
    pub(crate) fn check(&self) -> Result<(), NotLeading> {
        if self.is_held() { Ok(()) } else { Err(NotLeading) }
    }

    /// The lease was renewed by a request that was begun at `asked`.
    fn renewed(&self, asked: Instant) -> Instant {
        let deadline = asked + RENEW_WITHIN;
        *self.hold() = Hold::Until(deadline);
        deadline
    }

    fn end(&self) {
        *self.hold() = Hold::None;
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
