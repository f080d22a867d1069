//! What nodes do: one document of all mirrors for all agents, certificates by which members know agents, and a
//! MirrorNode for each Node to report in.
//!
//! The document says of an invalid mirror what it last said, of a mirror that goes nothing. Nothing is written before
//! all caches are filled: an empty document would make every node let go of its mirrors.

mod apply;
mod observe;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tidepool_plan::{Told, UnknownPast, nodes_document};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::ApplyError,
    backoff::Backoff,
    context::{Context, RECONCILE_WITHIN},
    leader::NotLeading,
    metrics::{Controller, Outcome},
    report::report,
    trust::{TrustError, until},
};

use observe::Observed;
pub(crate) use observe::published;

/// Changes that come together are one.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// What failures of this controller are counted under, in a backoff of its own.
const ALL: &str = "nodes";

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesError {
    #[error(transparent)]
    Past(#[from] UnknownPast),
    #[error("cannot write the agents' document as JSON")]
    Document(#[source] serde_json::Error),
    #[error("cannot apply ConfigMap {name} of the agents")]
    Apply { name: &'static str, source: Box<kube::Error> },
    #[error("cannot create MirrorNode {name}")]
    Create { name: String, source: Box<kube::Error> },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("cannot give agents their certificates")]
    Identity(#[source] ApplyError),
    #[error("took longer than {} s", RECONCILE_WITHIN.as_secs())]
    Deadline,
}

/// All mirrors, told to all agents; all Nodes, each with a MirrorNode. Returns when certificates or authorities are due.
///
/// `told` is what this process told agents last. The cache may be a moment behind it, and what an invalid mirror last
/// said must not be lost in that moment.
async fn reconcile(context: &Context, told: &mut Told) -> Result<SystemTime, NodesError> {
    context.leadership.check()?;
    let observed = observe::observe(context); // reads the caches
    // Before the document: who is told of a mirror can pull through it. None of the three waits for the others' success.
    let renewal = apply::identity(context, &observed.standings).await;
    let document = tell(context, &observed, told).await;
    apply::mirror_nodes(context, observed.unreported).await?;
    document?;
    renewal
}

async fn tell(context: &Context, observed: &Observed, told: &mut Told) -> Result<(), NodesError> {
    let last = if matches!(told, Told::Nothing) { &observed.published } else { &*told };
    let document = nodes_document(&observed.standings, observed.nodes, last)?; // pure
    apply::document(context, &document).await?;
    *told = Told::Document(document);
    Ok(())
}

/// Reconciles when `bell` rings, and now and then, until it is stopped; what is begun then is ended.
pub(crate) async fn run(context: Arc<Context>, bell: Arc<Notify>, stop: CancellationToken) {
    let (mut wait, mut told) = (Duration::ZERO, Told::Nothing);
    let backoff = Backoff::default();
    loop {
        // Both a ring and the end of the wait mean: look.
        let rung = async {
            let _ = tokio::time::timeout(wait, bell.notified()).await;
            tokio::time::sleep(DEBOUNCE).await;
        };
        if stop.run_until_cancelled(rung).await.is_none() {
            return;
        }
        let started = Instant::now();
        let ended = tokio::time::timeout(RECONCILE_WITHIN, reconcile(&context, &mut told)).await;
        let result = ended.unwrap_or(Err(NodesError::Deadline));
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Error };
        context.metrics.reconciled(Controller::Nodes, outcome, started.elapsed());
        wait = match result {
            Ok(renewal) => {
                backoff.forget(ALL);
                until(renewal, context.resync)
            }
            Err(error) => {
                tracing::warn!(error = report(&error), "cannot tell agents, trying again");
                backoff.failed(ALL)
            }
        };
    }
}
