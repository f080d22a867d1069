//! Finding out which nodes pull through their agents, where no pull has shown it yet: probe pods (design N5).
//!
//! What to do is decided by `tidepool_plan::probes`; what is known of earlier probes lives in this process alone, and a
//! take-over leaves nodes alone that were judged before; what stands `Probing` without a pod has a minute to hear of its
//! verdict. Pods that a predecessor left are taken up.

mod act;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tidepool_api::MirrorNode;
use tidepool_plan::{Act, Outcome, ProbePod, Trials, probes};

use super::{mirror_nodes, rounds::Rounds};
use crate::{caches::Caches, context::Context, leader::NotLeading, metrics::Controller, resources::name};

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbesError {
    #[error("cannot start a probe pod on node {node}")]
    Start { node: String, source: Box<kube::Error> },
    #[error("cannot delete probe pod {name}")]
    End { name: String, source: Box<kube::Error> },
    #[error("cannot write condition Honored of MirrorNode {name}")]
    Say { name: String, source: Box<kube::Error> },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
}

/// The controller, with what it knows of its probes since it began.
pub(crate) struct Probes {
    context: Arc<Context>,
    trials: Trials,
    began: Instant,
}

impl Probes {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, trials: Trials::default(), began: Instant::now() }
    }
}

impl Rounds for Probes {
    const CONTROLLER: Controller = Controller::Probes;
    const DEBOUNCE: Duration = Duration::from_millis(500);
    const FAILURE: &'static str = "cannot probe nodes";
    type Error = ProbesError;

    /// Looks at all nodes and all probe pods, and does what is due.
    async fn reconcile(&mut self) -> Result<Duration, ProbesError> {
        let context = &*self.context;
        context.leadership.check()?;
        let nodes = mirror_nodes::sorted(&context.caches);
        let nodes: Vec<&MirrorNode> = nodes.iter().map(|node| &**node).collect();
        let pods = pods(&context.caches);
        let now = self.began.elapsed();
        let (acts, next) = probes(&nodes, &pods, &mut self.trials, now, context.probes_at_once); // pure
        all(context, acts, &nodes, &mut self.trials).await?;
        Ok(next)
    }
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
