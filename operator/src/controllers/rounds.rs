//! The loop of a controller that looks at everything at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    context::{Context, RECONCILE_WITHIN},
    metrics::{Controller, Outcome},
    report::report,
};

/// What failures are counted under: each loop has a backoff of its own.
const ALL: &str = "all";

/// A controller whose reconcile is about all objects together.
pub(crate) trait Rounds: Send {
    /// Under which its reconciles are counted.
    const CONTROLLER: Controller;
    /// Changes that come together are one.
    const DEBOUNCE: Duration;
    /// What a failure means, for the log.
    const FAILURE: &'static str;
    /// Why a reconcile failed.
    type Error: std::error::Error + 'static;

    /// Looks at everything and does what is due. Returns when something is due again.
    fn reconcile(&mut self) -> impl Future<Output = Result<Duration, Self::Error>> + Send;
}

/// Reconciles when `bell` rings, and when something is due, until it is stopped; what is begun then is ended.
pub(crate) async fn run<R: Rounds>(mut rounds: R, context: Arc<Context>, bell: Arc<Notify>, stop: CancellationToken) {
    let (mut wait, backoff) = (Duration::ZERO, Backoff::default());
    loop {
        // Both a ring and the end of the wait mean: look.
        let rung = async {
            let _ = timeout(wait, bell.notified()).await;
            sleep(R::DEBOUNCE).await;
        };
        if stop.run_until_cancelled(rung).await.is_none() {
            return;
        }
        let started = Instant::now();
        let ended = timeout(RECONCILE_WITHIN, rounds.reconcile()).await;
        let due = match ended {
            Ok(result) => result.map_err(|error| report(&error)),
            Err(_) => Err(format!("took longer than {} s", RECONCILE_WITHIN.as_secs())),
        };
        let outcome = if due.is_ok() { Outcome::Success } else { Outcome::Error };
        context.metrics.reconciled(R::CONTROLLER, outcome, started.elapsed());
        wait = match due {
            Ok(due) => {
                backoff.forget(ALL);
                due.min(context.resync)
            }
            Err(error) => {
                tracing::warn!(error, "{}, trying again", R::FAILURE);
                backoff.failed(ALL)
            }
        };
    }
}
