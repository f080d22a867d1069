//! Makes a mirror's objects what is planned.

use std::sync::Arc;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::PersistentVolumeClaim};
use tidepool_plan::Objects;

use super::observe::Live;
use crate::{
    apply::{ApplyError, ensure, prune},
    context::Context,
    resources::{Namespaced, name},
};

/// What of a mirror's objects its status is made of, as they are after they were applied.
pub(super) struct Applied {
    pub(super) claims: Vec<PersistentVolumeClaim>,
    pub(super) deployments: Vec<Deployment>,
}

impl Applied {
    /// Nothing was applied: what is there is what was seen.
    pub(super) fn as_found(live: &Live) -> Self {
        let claims = live.claims.iter().map(|claim| (**claim).clone()).collect();
        Self { claims, deployments: live.deployments.iter().map(|deployment| (**deployment).clone()).collect() }
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
    let Objects { config, service_account, service, claims, deployments } = objects;
    // First: pods mount it, and run as it.
    ensure(client, &config, find(&live.secrets, &config)).await?;
    if let Some(account) = &service_account {
        ensure(client, account, find(&live.service_accounts, account)).await?;
    }
    let mut applied = Applied { claims: Vec::new(), deployments: Vec::new() };
    for claim in &claims {
        applied.claims.push(ensure(client, claim, find(&live.claims, claim)).await?);
    }
    ensure(client, &service, find(&live.services, &service)).await?;
    // Last: a change restarts pods, which then find the rest as it should be.
    for deployment in &deployments {
        applied.deployments.push(ensure(client, deployment, find(&live.deployments, deployment)).await?);
    }
    prune(client, owner, &live.deployments, &deployments.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.services, &[&service]).await?;
    prune(client, owner, &live.claims, &claims.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.service_accounts, &service_account.iter().collect::<Vec<_>>()).await?;
    prune(client, owner, &live.secrets, &[&config]).await?;
    Ok(applied)
}

fn find<'a, K: Namespaced>(live: &'a [Arc<K>], wanted: &K) -> Option<&'a K> {
    live.iter().map(|object| &**object).find(|object| name(*object) == name(wanted))
}
