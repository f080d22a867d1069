//! Publishes what is so of a mirror: its status, and Events of what changed.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Api;
use tidepool_api::RegistryMirror;
use tidepool_plan::{Invalid, Seen, ValidMirror, Verdict, notices, status};

use super::{ReconcileError, apply::Applied, facts, observe};
use crate::{apply::apply_status, context::Context, events, report::report, resources::name};

/// Writes the status if it differs from the one the mirror has.
pub(super) async fn publish(
    context: &Context,
    mirror: &RegistryMirror,
    verdict: &Result<ValidMirror, Vec<Invalid>>,
    applied: &Applied,
    failure: Option<&ReconcileError>,
) -> Result<(), ReconcileError> {
    let nodes = facts::nodes(context, mirror);
    let seen = Seen {
        mirror,
        verdict: verdict.as_ref().map_or_else(|faults| Verdict::Invalid(faults), Verdict::Valid),
        failure: failure.map(|error| report(error)),
        waiting: applied.behind.as_ref().map(|behind| {
            format!("one member rolls at a time in the cluster: its change waits for Deployment {behind}")
        }),
        reports: context.members.reports(&context.caches, name(mirror), applied.revision.clone()),
        namespace: &context.defaults.namespace,
        members: facts::members(context, mirror, &applied.deployments),
        storage: facts::storage(mirror, &applied.claims),
        no_default_class: !observe::classes(&context.caches).iter().any(|class| class.default),
        nodes: nodes.clone(),
    };
    let status = status(&seen, &Time(Timestamp::now()));
    context.metrics.published(name(mirror), &status, nodes.as_ref());
    if mirror.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let api = Api::<RegistryMirror>::all(context.client.clone());
    match apply_status(&api, mirror, &status).await {
        // It went while we worked.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => return Ok(()),
        written => written.map_err(|source| ReconcileError::Publish(Box::new(source)))?,
    }
    events::tell(&context.recorder, mirror, notices(mirror.status.as_ref(), &status)).await;
    Ok(())
}
