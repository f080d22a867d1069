//! Finding out which nodes pull through their agents, where no pull has shown it yet: probe pods (design N5).
//!
//! What to do is decided by `tidepool_plan::probes`; what is known of earlier probes lives in this process alone, and a
//! take-over leaves nodes alone that were judged before. Pods that a predecessor left are taken up.

mod act;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidepool_api::MirrorNode;
use tidepool_plan::{Outcome, ProbePod, Trials, probes};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    caches::Caches,
    context::{Context, RECONCILE_WITHIN},
    leader::NotLeading,
    metrics::{self, Controller},
    report::report,
    resources::name,
};

/// Changes that come together are one.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// What failures of this controller are counted under, in a backoff of its own.
const ALL: &str = "probes";

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
enum ProbesError {
    #[error("cannot {act} probe pod {name}")]
    Pod { act: &'static str, name: String, source: Box<kube::Error> },
    #[error("cannot write condition Honored of MirrorNode {name}")]
    Say { name: String, source: Box<kube::Error> },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error("took longer than {} s", RECONCILE_WITHIN.as_secs())]
    Deadline,
}

/// Looks at all nodes and all probe pods, and does what is due. Returns when to look again.
async fn reconcile(context: &Context, trials: &mut Trials, began: Instant) -> Result<Duration, ProbesError> {
    context.leadership.check()?;
    let nodes = nodes(&context.caches);
    let nodes: Vec<&MirrorNode> = nodes.iter().map(|node| &**node).collect();
    let pods = pods(&context.caches);
    let (acts, next) = probes(&nodes, &pods, trials, began.elapsed(), context.probes_at_once); // pure
    for act in acts {
        act::act(context, act).await?;
    }
    Ok(next)
}

/// All reports, in the order of their names: who comes first is not left to chance.
fn nodes(caches: &Caches) -> Vec<Arc<MirrorNode>> {
    let mut nodes = caches.mirror_nodes.state();
    nodes.sort_by(|a, b| name(&**a).cmp(name(&**b)));
    nodes
}

fn pods(caches: &Caches) -> Vec<ProbePod> {
    let pods = caches.probe_pods.state();
    let seen = pods.iter().map(|pod| ProbePod {
        name: name(&**pod).to_owned(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        ending: pod.metadata.deletion_timestamp.is_some(),
        outcome: Outcome::of(pod),
    });
    seen.collect()
}

/// Reconciles when `bell` rings, and when something is due, until it is stopped; what is begun then is ended.
pub(crate) async fn run(context: Arc<Context>, bell: Arc<Notify>, stop: CancellationToken) {
    let (mut wait, mut trials, began) = (Duration::ZERO, Trials::default(), Instant::now());
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
        let ended = tokio::time::timeout(RECONCILE_WITHIN, reconcile(&context, &mut trials, began)).await;
        let result = ended.unwrap_or(Err(ProbesError::Deadline));
        let outcome = if result.is_ok() { metrics::Outcome::Success } else { metrics::Outcome::Error };
        context.metrics.reconciled(Controller::Probes, outcome, started.elapsed());
        wait = match result {
            Ok(next) => {
                backoff.forget(ALL);
                next.min(context.resync)
            }
            Err(error) => {
                tracing::warn!(error = report(&error), "cannot probe nodes, trying again");
                backoff.failed(ALL)
            }
        };
    }
}
