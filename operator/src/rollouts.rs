//! One member rolls at a time in the whole cluster: an upgrade of the operator changes every Deployment, and must not
//! stop every cache at once.
//!
//! Whoever wants to change a Deployment that exists takes the turn, or comes again. The turn is over when the change is
//! rolled out. A Deployment that does not become ready, for whatever reason, holds the others up for [`PATIENCE`] only.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::apps::v1::Deployment;
use tokio::time::Instant;

use crate::{
    apply::{ApplyError, differs, ensure},
    context::Context,
    resources::name,
};

/// How long others wait for a Deployment that does not become ready.
const PATIENCE: Duration = Duration::from_secs(300);
/// Who waits comes again after about this long.
const COME_AGAIN: Duration = Duration::from_secs(5);

/// What came of the wish to change a Deployment.
#[derive(Debug)]
pub(crate) enum Rolled {
    /// It is as it was wanted.
    Applied(Box<Deployment>),
    /// It is as it was: the Deployment named here is changing, and comes first.
    Waiting { behind: String },
}

impl Rolled {
    /// When to come again, if it waits: not all at one time.
    pub(crate) fn come_again() -> Duration {
        COME_AGAIN.mul_f64(rand::random_range(1.0..=2.0))
    }
}

/// Whose turn it is, and who is not ready for how long.
#[derive(Debug, Default)]
pub(crate) struct Rollouts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turn: Option<Turn>,
    /// Deployments that are not rolled out, by name and generation, since they were first seen so.
    unready: HashMap<(String, Option<i64>), Instant>,
}

#[derive(Debug)]
struct Turn {
    deployment: String,
    since: Instant,
    /// The generation that the change made; none while it is being applied. The cache may be behind it.
    generation: Option<i64>,
}

/// Makes a Deployment what is wanted, when it is its turn. One that is new, or needs no change, does not wait.
pub(crate) async fn ensure_in_turn(
    context: &Context,
    wanted: &Deployment,
    live: Option<&Deployment>,
) -> Result<Rolled, ApplyError> {
    let changes = match live {
        Some(live) => differs(wanted, live)?,
        None => false,
    };
    if !changes {
        return ensure(&context.client, wanted, live).await.map(Box::new).map(Rolled::Applied);
    }
    if let Err(behind) = context.rollouts.take(name(wanted), &context.caches.deployments.state()) {
        return Ok(Rolled::Waiting { behind });
    }
    let applied = ensure(&context.client, wanted, live).await;
    context.rollouts.applied(name(wanted), applied.as_ref().ok());
    applied.map(Box::new).map(Rolled::Applied)
}

impl Rollouts {
    /// Takes the turn for a Deployment, or says whose it is. `all` are the Deployments of all mirrors, as last seen.
    fn take(&self, deployment: &str, all: &[Arc<Deployment>]) -> Result<(), String> {
        let mut state = self.state();
        state.see(all);
        let busy = state.turn.as_ref().filter(|turn| turn.deployment != deployment && !turn.is_over(all));
        if let Some(turn) = busy {
            return Err(turn.deployment.clone());
        }
        if let Some(other) = state.unready_besides(deployment) {
            return Err(other);
        }
        state.turn = Some(Turn { deployment: deployment.to_owned(), since: Instant::now(), generation: None });
        Ok(())
    }

    /// The change was applied, or, with none, was not.
    fn applied(&self, deployment: &str, applied: Option<&Deployment>) {
        let mut state = self.state();
        if let Some(turn) = state.turn.take_if(|turn| turn.deployment == deployment) {
            state.turn = applied
                .map(|applied| Turn { generation: Some(applied.metadata.generation.unwrap_or_default()), ..turn });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes who is not ready, and who is again.
    fn see(&mut self, all: &[Arc<Deployment>]) {
        let key = |deployment: &Deployment| (name(deployment).to_owned(), deployment.metadata.generation);
        let unready: HashSet<_> =
            all.iter().filter(|deployment| is_rolling(deployment)).map(|deployment| key(deployment)).collect();
        self.unready.retain(|key, _| unready.contains(key));
        for key in unready {
            self.unready.entry(key).or_insert_with(Instant::now);
        }
    }

    /// Another Deployment that is not ready and may yet become so.
    fn unready_besides(&self, deployment: &str) -> Option<String> {
        let others = self.unready.iter().filter(|((name, _), since)| name != deployment && since.elapsed() < PATIENCE);
        others.map(|((name, _), _)| name.clone()).min()
    }
}

impl Turn {
    fn is_over(&self, all: &[Arc<Deployment>]) -> bool {
        let done = |deployment: &Deployment| {
            self.generation.is_some_and(|generation| deployment.metadata.generation >= Some(generation))
                && !is_rolling(deployment)
        };
        let live = all.iter().find(|deployment| name(&***deployment) == self.deployment);
        self.since.elapsed() >= PATIENCE || live.is_none_or(|deployment| done(deployment))
    }
}

/// Whether pods of a Deployment are still to be replaced or to become ready. One that goes is of no concern.
fn is_rolling(deployment: &Deployment) -> bool {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return true };
    let seen = status.observed_generation >= deployment.metadata.generation;
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas];
    let done = seen && counts.iter().all(|count| count.unwrap_or_default() == desired);
    !done && deployment.metadata.deletion_timestamp.is_none()
}
