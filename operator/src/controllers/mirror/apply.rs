//! Makes a mirror's objects what is planned.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Secret},
};
use kube::Client;
use tidepool_plan::{Identity, Objects, renewed};

use super::observe::Live;
use crate::{
    apply::{ApplyError, differs, ensure, prune},
    context::Context,
    members::revision,
    resources::{Namespaced, name},
    rollouts::{Behind, Rollouts, Turn, image, is_rolling},
};

/// What of a mirror's objects its status is made of, as they are after they were applied.
#[derive(Default)]
pub(super) struct Applied {
    /// Also those that former members left.
    pub(super) claims: Vec<PersistentVolumeClaim>,
    /// The names of those that were deleted.
    pub(super) deleted_claims: Vec<String>,
    pub(super) deployments: Vec<Deployment>,
    /// The revision of the configuration that members should load.
    pub(super) revision: Option<String>,
    /// What must be over before a member is changed.
    pub(super) behind: Option<Behind>,
    /// Whether there is an Ingress.
    pub(super) ingress: bool,
}

impl Applied {
    /// Nothing was applied: what is there is what was seen.
    pub(super) fn as_found(mirror: &str, live: &Live) -> Self {
        Self {
            claims: live.claims.iter().map(|claim| (**claim).clone()).collect(),
            deleted_claims: Vec::new(),
            deployments: live.deployments.iter().map(|deployment| (**deployment).clone()).collect(),
            revision: live.config(mirror).and_then(revision),
            behind: None,
            ingress: !live.ingresses.is_empty(),
        }
    }
}

/// With what objects are applied.
pub(super) struct Applier<'a> {
    client: &'a Client,
    rollouts: &'a Rollouts,
    /// The Deployments of all mirrors, as last seen.
    all: Vec<Arc<Deployment>>,
}

/// A Deployment that is to be made what is wanted.
struct Step<'a> {
    wanted: &'a Deployment,
    there: Option<&'a Deployment>,
    /// The image that it is to get, where it is another.
    image: Option<&'a str>,
    /// The turn, where it needs one.
    turn: Result<Option<Turn<'a>>, Behind>,
}

impl<'a> Applier<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { client: &context.client, rollouts: &context.rollouts, all: context.caches.deployments.state() }
    }

    /// Applies the objects, then deletes those that are planned no more. While a member waits for its turn nothing is
    /// deleted that it may need.
    pub(super) async fn apply(
        &self,
        owner: &str,
        identity: &Identity,
        objects: Objects,
        live: &Live,
    ) -> Result<Applied, ApplyError> {
        let claims = match self.surroundings(&objects, live).await {
            Ok(claims) => claims,
            // It may be refused for long: members that are there get new certificates and passwords all the same.
            Err(error) => {
                let mut deployments = objects.deployments.iter();
                let waits = deployments.any(|wanted| new_image(wanted, find(&live.deployments, wanted)).is_some());
                self.config(identity, &objects, live, waits).await?;
                return Err(error);
            }
        };
        let mut applied = Applied { claims, ..self.members(identity, &objects, live).await? };
        let left =
            live.claims.iter().filter(|claim| !objects.claims.iter().any(|planned| name(planned) == name(&***claim)));
        applied.claims.extend(left.map(|claim| (**claim).clone()));
        if let Some(ingress) = &objects.ingress {
            let there = find(&live.ingresses, ingress);
            // Clients are not led to what has never answered.
            if there.is_some() || applied.deployments.iter().any(serves) {
                ensure(self.client, ingress, there).await?;
                applied.ingress = true;
            }
        }
        // No member needs an Ingress.
        prune(self.client, owner, &live.ingresses, &objects.ingress.iter().collect::<Vec<_>>()).await?;
        // They serve until one of those that stay does so as it should.
        if applied.deployments.iter().any(|deployment| !is_rolling(deployment)) {
            applied.deleted_claims = self.former_members(owner, &objects, live).await?;
        }
        if applied.behind.is_none() {
            self.prune(owner, &objects, live).await?;
        }
        Ok(applied)
    }

    /// Deletes members that are wanted no more, and their claims unless they are to stay. Returns the claims that go.
    async fn former_members(&self, owner: &str, objects: &Objects, live: &Live) -> Result<Vec<String>, ApplyError> {
        let Objects { claims, deployments, .. } = objects;
        prune(self.client, owner, &live.deployments, &deployments.iter().collect::<Vec<_>>()).await?;
        prune(self.client, owner, &live.claims, &claims.iter().collect::<Vec<_>>()).await
    }

    /// What members need, but for their configuration. Returns the claims.
    async fn surroundings(&self, objects: &Objects, live: &Live) -> Result<Vec<PersistentVolumeClaim>, ApplyError> {
        let Objects { network_policy, budget, service_account, service, claims, .. } = objects;
        if let Some(account) = service_account {
            ensure(self.client, account, find(&live.service_accounts, account)).await?;
        }
        let mut applied = Vec::new();
        for claim in claims {
            applied.push(ensure(self.client, claim, find(&live.claims, claim)).await?);
        }
        ensure(self.client, service, find(&live.services, service)).await?;
        ensure(self.client, network_policy, find(&live.network_policies, network_policy)).await?;
        ensure(self.client, budget, find(&live.budgets, budget)).await?;
        Ok(applied)
    }

    /// The configuration. A member of another version may not be able to read one of this version, should it start again:
    /// while a member `waits` for its image the configuration stays as it is, but for certificates, which end.
    async fn config(
        &self,
        identity: &Identity,
        objects: &Objects,
        live: &Live,
        waits: bool,
    ) -> Result<Secret, ApplyError> {
        match find(&live.secrets, &objects.config) {
            Some(config) if waits => renew_identity(self.client, config, identity).await,
            there => ensure(self.client, &objects.config, there).await,
        }
    }

    /// The configuration, then the members, each in its turn.
    async fn members(&self, identity: &Identity, objects: &Objects, live: &Live) -> Result<Applied, ApplyError> {
        let steps = objects.deployments.iter().map(|wanted| self.step(wanted, find(&live.deployments, wanted)));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let waits = steps.iter().any(|step| step.image.is_some() && step.turn.is_err());
        let config = self.config(identity, objects, live, waits).await?;
        let mut applied = Applied { revision: revision(&config), ..Applied::default() };
        for Step { wanted, there, turn, .. } in steps {
            match turn {
                Ok(turn) => {
                    let deployment = ensure(self.client, wanted, there).await?;
                    if let Some(turn) = turn {
                        turn.applied(&deployment);
                    }
                    applied.deployments.push(deployment);
                }
                Err(behind) => {
                    tracing::debug!(deployment = name(wanted), ?behind, "waits for its turn");
                    applied.deployments.extend(there.cloned());
                    applied.behind = Some(behind);
                }
            }
        }
        Ok(applied)
    }

    /// Takes the turn where a Deployment is changed. One that is new, or needs no change, needs none.
    fn step<'b>(&'b self, wanted: &'b Deployment, there: Option<&'b Deployment>) -> Result<Step<'b>, ApplyError> {
        let Some(live) = there else { return Ok(Step { wanted, there, image: None, turn: Ok(None) }) };
        let image = new_image(wanted, there);
        let turn = match differs(wanted, live)? {
            true => self.rollouts.take(name(wanted), image, &self.all).map(Some),
            false => Ok(None),
        };
        Ok(Step { wanted, there, image, turn })
    }

    async fn prune(&self, owner: &str, objects: &Objects, live: &Live) -> Result<(), ApplyError> {
        let Objects { config, network_policy, budget, service_account, service, .. } = objects;
        let client = self.client;
        prune(client, owner, &live.services, &[service]).await?;
        prune(client, owner, &live.service_accounts, &service_account.iter().collect::<Vec<_>>()).await?;
        prune(client, owner, &live.network_policies, &[network_policy]).await?;
        prune(client, owner, &live.budgets, &[budget]).await?;
        prune(client, owner, &live.secrets, &[config]).await?;
        Ok(())
    }
}

/// New certificates in a configuration that stays as it is otherwise.
pub(super) async fn renew_identity(
    client: &Client,
    config: &Secret,
    identity: &Identity,
) -> Result<Secret, ApplyError> {
    match renewed(config, identity) {
        Some(renewed) => ensure(client, &renewed, Some(config)).await,
        None => Ok(config.clone()),
    }
}

/// The image that a Deployment which is there is to get, where it is another.
fn new_image<'a>(wanted: &'a Deployment, there: Option<&Deployment>) -> Option<&'a str> {
    image(wanted).filter(|wanted| there.is_some_and(|there| image(there) != Some(wanted)))
}

fn serves(deployment: &Deployment) -> bool {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default() > 0
}

fn find<'a, K: Namespaced>(live: &'a [Arc<K>], wanted: &K) -> Option<&'a K> {
    live.iter().map(|object| &**object).find(|object| name(*object) == name(wanted))
}
