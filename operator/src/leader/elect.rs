//! Waiting for the lease, keeping it, giving it back.

use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{
    Leadership, RELEASE_WITHIN, RENEW_WITHIN, REQUEST_WITHIN, RETRY, SUCCEED_AFTER,
    lease::{Attempt, Candidate},
};
use crate::report::report;

/// The lease is gone: the process must end, since another may lead.
#[derive(Debug, thiserror::Error)]
pub enum LeaseLost {
    /// Nobody took it yet, but somebody soon may.
    #[error("the lease could not be renewed for {} s", RENEW_WITHIN.as_secs())]
    Deadline,
    /// Another process has it.
    #[error("the lease was taken by {0}")]
    Taken(String),
}

/// What one process does about leading.
pub(crate) struct Elector {
    pub(super) candidate: Candidate,
    pub(super) leadership: Leadership,
}

impl Elector {
    /// A candidate for the Lease at `place`, a namespace and a name; `leadership` tells others what comes of it. `process`
    /// is a name that helps people; it need not be unique. `client` must not need the lease to write.
    pub(crate) fn new(client: Client, place: (&str, &str), process: &str, leadership: Leadership) -> Self {
        let identity = format!("{process}_{:016x}", rand::random::<u64>());
        let candidate = Candidate::new(Api::namespaced(client, place.0), place.1.to_owned(), identity);
        Self { candidate, leadership }
    }

    /// Waits until this process leads. `earlier` says that an operator was at work here before.
    pub(crate) async fn acquire(&mut self, earlier: bool) {
        let (mut holder, mut waits) = (None, false);
        self.candidate.not_before = earlier.then(|| Instant::now() + SUCCEED_AFTER);
        loop {
            let asked = Instant::now();
            match timeout(REQUEST_WITHIN, self.candidate.attempt()).await {
                Ok(Ok(Attempt::Held)) => {
                    self.leadership.renewed(asked);
                    // Should somebody delete it from now on, it is ours to make again.
                    self.candidate.not_before = None;
                    tracing::info!(identity = self.candidate.identity, "leading");
                    return;
                }
                Ok(Ok(Attempt::HeldBy(other))) if holder.as_ref() != Some(&other) => {
                    tracing::info!(holder = other, "standing by");
                    holder = Some(other);
                }
                Ok(Ok(Attempt::TooEarly)) if !waits => {
                    tracing::info!("nobody led by a lease before: an operator without one gets time to end");
                    waits = true;
                }
                Ok(Ok(Attempt::HeldBy(_) | Attempt::Conflict | Attempt::TooEarly)) => {}
                Ok(Err(error)) => tracing::warn!(error = report(&error), "cannot ask for the lease, trying again"),
                Err(_) => tracing::warn!("asking for the lease takes too long, trying again"),
            }
            // Two that wait for one lease should not ask at one time.
            sleep(RETRY.mul_f64(rand::random_range(1.0..=1.2))).await;
        }
    }

    /// Keeps the lease for as long as that works, and says why it did not.
    pub(crate) async fn hold(&mut self) -> LeaseLost {
        let mut deadline = Instant::now() + RENEW_WITHIN;
        loop {
            sleep_until(deadline.min(Instant::now() + RETRY)).await;
            let asked = Instant::now();
            match timeout_at(deadline.min(asked + REQUEST_WITHIN), self.candidate.attempt()).await {
                Ok(Ok(Attempt::Held)) => deadline = self.leadership.renewed(asked),
                Ok(Ok(Attempt::HeldBy(other))) => {
                    self.leadership.end();
                    return LeaseLost::Taken(other);
                }
                Ok(Ok(Attempt::Conflict | Attempt::TooEarly)) => {
                    tracing::warn!("somebody else wrote the lease, trying again")
                }
                Ok(Err(error)) => tracing::warn!(error = report(&error), "cannot renew the lease, trying again"),
                Err(_) => tracing::warn!("renewing the lease takes too long, trying again"),
            }
            if Instant::now() >= deadline {
                self.leadership.end();
                return LeaseLost::Deadline;
            }
        }
    }

    /// Gives the lease back, the last thing a process does: nothing of it may write afterwards.
    pub(crate) async fn release(mut self) {
        self.leadership.end();
        match timeout(RELEASE_WITHIN, self.candidate.release()).await {
            Ok(Ok(true)) => tracing::info!("the lease is given back"),
            Ok(Ok(false)) => tracing::debug!("the lease is not ours"),
            Ok(Err(error)) => tracing::warn!(error = report(&error), "cannot give the lease back: it will expire"),
            Err(_) => tracing::warn!("giving the lease back takes too long: it will expire"),
        }
    }
}
