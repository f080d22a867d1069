//! Finding out which nodes pull through their agents, where no pull has shown it yet: probe pods (design N5).
//!
//! What to do is decided by `tidepool_plan::probes`; what is known of earlier probes lives in this process alone, and a
//! take-over leaves nodes alone that were judged before; what stands `Probing` without a pod is probed at once. Pods that a
//! predecessor left are taken up.

mod act;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tidepool_api::MirrorNode;
use tidepool_plan::{Act, Outcome, ProbePod, Trials, probes};
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
    #[error("cannot start a probe pod on node {node}")]
    Start { node: String, source: Box<kube::Error> },
    #[error("cannot delete probe pod {name}")]
    End { name: String, source: Box<kube::Error> },
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
    all(context, acts, &nodes, trials).await?;
    Ok(next)
}

/// Does all of it. What does not come about ends the acts of its own node, so that no pod goes whose verdict was not
/// written; the first error is returned when everything else is done.
async fn all(context: &Context, acts: Vec<Act>, nodes: &[&MirrorNode], trials: &mut Trials) -> Result<(), ProbesError> {
    let (mut left_out, mut result) = (BTreeSet::new(), Ok(()));
    for act in acts {
        if left_out.contains(act.node()) {
            continue;
        }
        let node = act.node().to_owned();
        let done = act::act(context, act, nodes).await;
        if let Err(ProbesError::Start { node, .. }) = &done {
            trials.not_begun(node);
        }
        if !matches!(done, Ok(true)) {
            left_out.insert(node);
        }
        result = result.and(done.map(|_| ()));
    }
    result
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
