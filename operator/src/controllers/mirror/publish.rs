//! Publishes what is so of a mirror: its status, and Events of what changed.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Api;
use tidepool_api::RegistryMirror;
use tidepool_plan::{Invalid, Seen, ValidMirror, Verdict, deleted_claims, notices, status};

use super::{ReconcileError, apply::Applied, facts, observe};
use crate::{apply::apply_status, context::Context, events, report::report, resources::name, rollouts::Behind};

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
        waiting: applied.behind.as_ref().map(waiting),
        reports: context.members.reports(&context.caches, name(mirror), applied.revision.clone()),
        namespace: &context.defaults.namespace,
        members: facts::members(context, mirror, &applied.deployments, &applied.former),
        storage: facts::storage(mirror, &applied.claims),
        no_default_class: !observe::classes(&context.caches).iter().any(|class| class.default),
        nodes: nodes.clone(),
        ingress: applied.ingress,
    };
    let status = status(&seen, &Time(Timestamp::now()));
    context.metrics.published(name(mirror), &status, nodes.as_ref());
    events::tell(&context.recorder, mirror, deleted_claims(&applied.deleted_claims)).await;
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

/// What is told of a member that waits. Who rolls just now is left out: in an upgrade of many mirrors each would be
/// written anew for each.
fn waiting(behind: &Behind) -> String {
    match behind {
        Behind::Rolling(_) => "one member rolls at a time in the cluster: its change waits for its turn".to_owned(),
        Behind::Failed(deployment) => format!(
            "Deployment {deployment} got stuck with the new image, so its change waits: mend or delete that mirror, or go \
             back to the image before"
        ),
        Behind::Sibling(deployment) => format!(
            "{deployment} did not become available with what the spec says, so the members that are yet to get it stay \
             as they are and serve: mend what keeps {deployment}, or change the spec"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_who_waits_is_the_same_whoever_rolls_and_names_whose_rollout_failed() {
        let rolling = |name: &str| waiting(&Behind::Rolling(name.to_owned()));
        assert_eq!(rolling("mirror-a-0"), rolling("mirror-b-0"));
        assert!(waiting(&Behind::Failed("mirror-a-0".to_owned())).contains("mirror-a-0"));
        assert!(waiting(&Behind::Sibling("mirror-a-0".to_owned())).contains("mirror-a-0 did not become available"));
    }
}
