//! One RegistryMirror: observe, validate, plan, apply, publish.
//!
//! Level-based: each run makes what is there what the spec says, whatever happened before. A spec that does not
//! validate leaves the last good objects as they are. There is no finalizer: owner references take the objects away.

mod apply;
mod facts;
pub(super) mod observe;
mod publish;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Instant, SystemTime},
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource as _, ResourceExt as _,
    api::ObjectMeta,
    core::error_boundary::InvalidObject,
    runtime::{
        applier,
        controller::{Action, Config, Error as RunError},
        reflector::ObjectRef,
    },
};
use tidepool_api::RegistryMirror;
use tidepool_plan::{PlanError, ValidMirror, names, plan, validate};
use tokio_util::sync::CancellationToken;

use crate::{
    apply::ApplyError,
    context::{Context, RECONCILE_WITHIN},
    leader::NotLeading,
    metrics::{Controller, Outcome},
    report::report,
    resources::{AnyMirror, name},
    rollouts::come_again,
    trust::{TrustError, member_identity, until},
};
use apply::{Applied, Applier, renew_identity};
use observe::Live;

/// Enough for a thousand mirrors, few enough to be no load on the API server.
const CONCURRENCY: u16 = 8;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("cannot give its members their certificate")]
    Trust(#[from] TrustError),
    #[error("cannot plan its objects")]
    Plan(#[from] PlanError),
    #[error("cannot apply its objects")]
    Apply(#[from] ApplyError),
    #[error("cannot publish its status")]
    Publish(#[source] Box<kube::Error>),
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error("took longer than {} s", RECONCILE_WITHIN.as_secs())]
    Deadline,
}

/// One mirror, made what its spec says. Returns when to look again at the latest.
async fn reconcile(mirror: &RegistryMirror, context: &Context) -> Result<SystemTime, ReconcileError> {
    context.leadership.check()?;
    let observed = observe::observe(mirror, context); // reads the caches
    let verdict = validate(mirror, &observed.referenced); // pure
    let found = || Applied::as_found(name(mirror), &observed.live);
    let (applied, outcome) = match &verdict {
        Ok(valid) => {
            let mut deleted_claims = Vec::new();
            let (applied, outcome) = match make(valid, context, &observed.live, &mut deleted_claims).await {
                // What does not depend on what was refused is in place.
                Ok((mut applied, due)) => match applied.refused.take() {
                    Some(refused) => (applied, Err(refused.into())),
                    None => (applied, Ok(due)),
                },
                Err(error) => (found(), Err(error)),
            };
            (Applied { deleted_claims, ..applied }, outcome)
        }
        // The last good objects stay, but for certificates, which end.
        Err(_) => (found(), renew(&mirror.metadata, context).await),
    };
    publish::publish(context, mirror, &verdict, &applied, outcome.as_ref().err()).await?;
    outcome
}

/// The objects of a valid mirror, planned and applied; and when its members' certificate is to be renewed.
/// `deleted_claims` gets the claims that go, also where it fails later.
async fn make(
    valid: &ValidMirror,
    context: &Context,
    live: &Live,
    deleted_claims: &mut Vec<String>,
) -> Result<(Applied, SystemTime), ReconcileError> {
    let (identity, due) = member_identity(context, (&valid.name, &valid.uid), live.config(&valid.name)).await?;
    let objects = plan(valid, &identity, &context.defaults)?; // pure
    let applied = Applier::new(context).apply(&valid.uid, &identity, &objects, live, deleted_claims).await?;
    let due = if applied.behind.is_some() { due.min(SystemTime::now() + come_again()) } else { due };
    Ok((applied, due))
}

/// A mirror that this version cannot read: its objects stay as they are, and so does what agents were told. But for
/// certificates, as above.
async fn keep(unread: &InvalidObject, context: &Context) -> Result<SystemTime, ReconcileError> {
    context.leadership.check()?;
    tracing::warn!(mirror = unread.metadata.name, error = unread.error, "this version cannot read the mirror");
    renew(&unread.metadata, context).await
}

/// New certificates, and the authorities that are believed now, for the members of a mirror whose spec cannot be used;
/// and when the next are due.
async fn renew(mirror: &ObjectMeta, context: &Context) -> Result<SystemTime, ReconcileError> {
    let (name, uid) = (mirror.name.as_deref().unwrap_or_default(), mirror.uid.as_deref().unwrap_or_default());
    let place = ObjectRef::<Secret>::new(&names::config(name)).within(&context.defaults.namespace);
    // That of an earlier mirror of this name goes with that mirror.
    let own = |config: &Arc<Secret>| config.owner_references().iter().any(|owner| owner.uid == uid);
    let Some(config) = context.caches.secrets.get(&place).filter(own) else {
        return Ok(SystemTime::now() + context.resync);
    };
    let (identity, due) = member_identity(context, (name, uid), Some(&config)).await?;
    renew_identity(&context.client, &config, &identity).await?;
    Ok(due)
}

/// Reconciles the mirrors whose names come, until it is stopped; what is begun then is ended.
pub(crate) async fn run(
    context: Arc<Context>,
    names: impl Stream<Item = String> + Send + 'static,
    stop: CancellationToken,
) {
    let queue =
        names.take_until(stop.cancelled_owned()).map(|name| Ok::<_, Infallible>(ObjectRef::<AnyMirror>::new(&name)));
    let store = context.caches.mirrors.clone();
    let config = Config::default().concurrency(CONCURRENCY);
    let step = |mirror, context| Box::pin(attempt(mirror, context));
    let results = applier(step, after_failure, Arc::clone(&context), store, queue, config);
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        log(&context, result);
    }
}

/// One reconcile with its deadline, its metrics and its exceptions.
async fn attempt(mirror: Arc<AnyMirror>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if mirror.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let work = async {
        match &mirror.0 {
            Ok(mirror) => reconcile(mirror, &context).await,
            Err(unread) => keep(unread, &context).await,
        }
    };
    let ended = tokio::time::timeout(RECONCILE_WITHIN, work).await;
    let result = ended.unwrap_or(Err(ReconcileError::Deadline));
    let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Error };
    context.metrics.reconciled(Controller::Mirror, outcome, started.elapsed());
    let due = result?;
    context.backoff.forget(name(&*mirror));
    // Not all at once, though all were started at once.
    Ok(Action::requeue(until(due, context.resync.mul_f64(rand::random_range(0.9..=1.1)))))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `applier` takes")]
fn after_failure(mirror: Arc<AnyMirror>, _: &ReconcileError, context: Arc<Context>) -> Action {
    Action::requeue(context.backoff.failed(name(&*mirror)))
}

fn log(context: &Context, result: Result<(ObjectRef<AnyMirror>, Action), RunError<ReconcileError, Infallible>>) {
    match result {
        Ok((mirror, _)) => tracing::debug!(mirror = mirror.name, "reconciled"),
        Err(RunError::ObjectNotFound(mirror)) => {
            context.metrics.forget(&mirror.name);
            context.backoff.forget(&mirror.name);
            tracing::info!(mirror = mirror.name, "gone; Kubernetes takes its objects away");
        }
        Err(RunError::ReconcilerFailed(error, mirror)) => {
            tracing::warn!(mirror = mirror.name, error = report(&error), "reconcile failed, trying again");
        }
        Err(RunError::RunnerError(error)) => tracing::error!(error = %error, "the queue of mirrors broke"),
        Err(RunError::QueueError(never)) => match never {},
    }
}
