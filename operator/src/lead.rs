//! Standing by, leading, and handing over: the controllers run while this process leads.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    StartError,
    caches::Caches,
    context::Context,
    controllers::{self, absences::AwayAgents, nodes::Nodes, probes::Probes, rounds},
    leader::{Elector, LeaseLost},
    members,
    triggers::Triggers,
};

/// How long reconciles that run when the process is told to stop may go on. One that is cut short is done again by the
/// next leader.
const DRAIN: Duration = Duration::from_secs(5);

/// Leads when it may, until `stop` is cancelled; then controllers end, and last of all the lease is given back. Without
/// an elector it is alone.
pub(crate) async fn lead(
    context: Arc<Context>,
    triggers: &Triggers,
    mut elector: Option<Elector>,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let metrics = context.metrics.clone();
    let led = match &mut elector {
        None => run(context, triggers, std::future::pending(), stop).await,
        Some(elector) => match stop.run_until_cancelled(elector.acquire(were_led(&context.caches))).await {
            None => Ok(()),
            Some(()) => run(context, triggers, elector.hold(), stop).await,
        },
    };
    metrics.leads(false);
    // Also when a request for it was under way as we were told to stop: it may have been granted.
    if let Some(elector) = elector {
        elector.release().await;
    }
    led
}

/// Whether an operator was at work here: then there is something that it may still write.
fn were_led(caches: &Caches) -> bool {
    !caches.deployments.is_empty() || !caches.document.is_empty()
}

/// Runs the controllers for as long as `hold` says nothing else.
async fn run(
    context: Arc<Context>,
    triggers: &Triggers,
    hold: impl Future<Output = LeaseLost>,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    context.metrics.leads(true);
    let mut controllers = start(context, triggers, stop);
    let working = async {
        let ended = stop.run_until_cancelled(controllers.join_next()).await;
        if ended.is_some() && !stop.is_cancelled() {
            return Err(StartError::Ended);
        }
        let drained = async { while controllers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some reconciles took too long to end, they are cut short");
        }
        Ok(())
    };
    let led = tokio::select! {
        // First: who does not lead must not go on.
        biased;
        lost = hold => Err(StartError::Lease(lost)),
        worked = working => worked,
    };
    // What still runs is dropped here, at its next wait.
    controllers.shutdown().await;
    led
}

/// Starts the controllers as tasks, which take up nothing more once `stop` is cancelled, and end.
fn start(context: Arc<Context>, triggers: &Triggers, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let names = triggers.queue.clone().into_stream();
    let (asking, queue, asked) = (Arc::clone(&context), triggers.queue.clone(), stop.clone());
    tasks.spawn(async move {
        asked.run_until_cancelled(members::run(asking, queue)).await;
    });
    tasks.spawn(controllers::mirror::run(Arc::clone(&context), names, stop.clone()));
    let (collecting, nodes, collected) = (triggers.clone(), context.caches.nodes.clone(), stop.clone());
    tasks.spawn(async move {
        collected.run_until_cancelled(collecting.collect(|| nodes.len())).await;
    });
    let (probes, nodes) = (Probes::new(Arc::clone(&context)), Nodes::new(Arc::clone(&context)));
    tasks.spawn(rounds::run(probes, Arc::clone(&context), Arc::clone(&triggers.probes), stop.clone()));
    let absences = AwayAgents::new(Arc::clone(&context));
    tasks.spawn(rounds::run(absences, Arc::clone(&context), Arc::clone(&triggers.absences), stop.clone()));
    tasks.spawn(rounds::run(nodes, context, Arc::clone(&triggers.nodes), stop.clone()));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, filled};

    #[tokio::test]
    async fn an_earlier_operator_is_known_by_what_it_made() {
        let (mut context, _server) = context(Vec::new(), Vec::new());
        assert!(!were_led(&context.caches));
        let object = |name: &str| serde_json::json!({"metadata": {"name": name, "namespace": "deep"}});
        context.caches.document = filled(vec![serde_json::from_value(object("tidepool-nodes")).unwrap()]);
        assert!(were_led(&context.caches));
        context.caches.document = filled(Vec::new());
        context.caches.deployments = filled(vec![serde_json::from_value(object("mirror-reef-0")).unwrap()]);
        assert!(were_led(&context.caches));
    }
}
