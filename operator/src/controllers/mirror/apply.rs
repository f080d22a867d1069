//! Makes a mirror's objects what is planned.

use std::sync::Arc;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::PersistentVolumeClaim};
use tidepool_plan::Objects;

use super::observe::Live;
use crate::{
    apply::{ApplyError, ensure, prune},
    context::Context,
    members::revision,
    resources::{Namespaced, name},
    rollouts::{Rolled, ensure_in_turn},
};

/// What of a mirror's objects its status is made of, as they are after they were applied.
pub(super) struct Applied {
    pub(super) claims: Vec<PersistentVolumeClaim>,
    pub(super) deployments: Vec<Deployment>,
    /// The revision of the configuration that members should load.
    pub(super) revision: Option<String>,
    /// The Deployment of another mirror that must have rolled out before a member of this one is changed.
    pub(super) behind: Option<String>,
}

impl Applied {
    /// Nothing was applied: what is there is what was seen.
    pub(super) fn as_found(mirror: &str, live: &Live) -> Self {
        Self {
            claims: live.claims.iter().map(|claim| (**claim).clone()).collect(),
            deployments: live.deployments.iter().map(|deployment| (**deployment).clone()).collect(),
            revision: live.config(mirror).and_then(revision),
            behind: None,
        }
    }
}

/// Applies the objects, then deletes those that are planned no more.
pub(super) async fn apply(
    context: &Context,
    owner: &str,
    objects: Objects,
    live: &Live,
) -> Result<Applied, ApplyError> {
    let client = &context.client;
    let Objects { config, network_policy, budget, service_account, service, claims, deployments, ingress } = objects;
    // First: pods mount it, and run as it.
    let config = ensure(client, &config, find(&live.secrets, &config)).await?;
    if let Some(account) = &service_account {
        ensure(client, account, find(&live.service_accounts, account)).await?;
    }
    let mut applied =
        Applied { claims: Vec::new(), deployments: Vec::new(), revision: revision(&config), behind: None };
    for claim in &claims {
        applied.claims.push(ensure(client, claim, find(&live.claims, claim)).await?);
    }
    ensure(client, &service, find(&live.services, &service)).await?;
    ensure(client, &network_policy, find(&live.network_policies, &network_policy)).await?;
    ensure(client, &budget, find(&live.budgets, &budget)).await?;
    // After all they need: a change restarts pods, which then find the rest as it should be.
    for deployment in &deployments {
        let there = find(&live.deployments, deployment);
        match ensure_in_turn(context, deployment, there).await? {
            Rolled::Applied(deployment) => applied.deployments.push(*deployment),
            Rolled::Waiting { behind } => {
                applied.deployments.extend(there.cloned());
                applied.behind = Some(behind);
            }
        }
    }
    if let Some(ingress) = &ingress {
        let there = find(&live.ingresses, ingress);
        // Clients are not led to what has never answered.
        if there.is_some() || applied.deployments.iter().any(serves) {
            ensure(client, ingress, there).await?;
        }
    }
    prune(client, owner, &live.ingresses, &ingress.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.deployments, &deployments.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.services, &[&service]).await?;
    prune(client, owner, &live.claims, &claims.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.service_accounts, &service_account.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.network_policies, &[&network_policy]).await?;
    prune(client, owner, &live.budgets, &[&budget]).await?;
    prune(client, owner, &live.secrets, &[&config]).await?;
    Ok(applied)
}

fn serves(deployment: &Deployment) -> bool {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default() > 0
}

fn find<'a, K: Namespaced>(live: &'a [Arc<K>], wanted: &K) -> Option<&'a K> {
    live.iter().map(|object| &**object).find(|object| name(*object) == name(wanted))
}
