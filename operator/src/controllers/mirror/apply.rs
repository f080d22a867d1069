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

use super::observe::{Live, is_owned};
use crate::{
    apply::{ApplyError, differs, ensure, prune, prune_into},
    context::Context,
    members::revision,
    resources::{Namespaced, name},
    rollouts::{Behind, Change, Rollouts, Turn, image, is_rolling},
};

/// What of a mirror's objects its status is made of, as they are after they were applied.
#[derive(Default)]
pub(super) struct Applied {
    /// Also those that former members left.
    pub(super) claims: Vec<PersistentVolumeClaim>,
    /// The names of those that were deleted.
    pub(super) deleted_claims: Vec<String>,
    pub(super) deployments: Vec<Deployment>,
    /// Those of former members that serve until one that stays does.
    pub(super) former: Vec<Deployment>,
    /// The revision of the configuration that members should load.
    pub(super) revision: Option<String>,
    /// What must be over before a member is changed.
    pub(super) behind: Option<Behind>,
    /// Whether there is an Ingress.
    pub(super) ingress: bool,
    /// The first claim that could not be made what is planned: what does not depend on it was applied.
    pub(super) refused: Option<ApplyError>,
}

impl Applied {
    /// Nothing was applied: what is there is what was seen.
    pub(super) fn as_found(mirror: &str, live: &Live) -> Self {
        Self {
            claims: live.claims.iter().map(|claim| (**claim).clone()).collect(),
            deleted_claims: Vec::new(),
            deployments: live.deployments.iter().map(|deployment| (**deployment).clone()).collect(),
            former: Vec::new(),
            revision: live.config(mirror).and_then(revision),
            behind: None,
            ingress: !live.ingresses.is_empty(),
            refused: None,
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
    /// deleted that it may need. `deleted_claims` gets the names of the claims that go, also where it fails later.
    pub(super) async fn apply(
        &self,
        owner: &str,
        identity: &Identity,
        objects: &Objects,
        live: &Live,
        deleted_claims: &mut Vec<String>,
    ) -> Result<Applied, ApplyError> {
        let (claims, refused) = match self.surroundings(objects, live).await {
            Ok(claims) => claims,
            // It may be refused for long: members that are there get new certificates and passwords all the same.
            Err(error) => {
                let mut deployments = objects.deployments.iter();
                let waits = deployments.any(|wanted| new_image(wanted, find(&live.deployments, wanted)).is_some());
                self.config(identity, objects, live, waits).await?;
                return Err(error);
            }
        };
        let mut applied = Applied { refused, ..self.members(identity, objects, &claims, live).await? };
        let left =
            live.claims.iter().filter(|claim| !objects.claims.iter().any(|planned| name(planned) == name(&***claim)));
        applied.claims.extend(claims.into_iter().chain(left.map(|claim| (**claim).clone())));
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
            let Objects { claims, deployments, .. } = objects;
            prune(self.client, owner, &live.deployments, &deployments.iter().collect::<Vec<_>>()).await?;
            let keep = claims.iter().collect::<Vec<_>>();
            prune_into(self.client, owner, &live.claims, &keep, deleted_claims).await?;
        } else {
            applied.former = former(owner, objects, live);
        }
        if applied.behind.is_none() {
            self.prune(owner, objects, live).await?;
        }
        Ok(applied)
    }

    /// What members need, but for their configuration. Returns the claims that are there, and why one is not as planned:
    /// members do not depend on each other's.
    async fn surroundings(
        &self,
        objects: &Objects,
        live: &Live,
    ) -> Result<(Vec<PersistentVolumeClaim>, Option<ApplyError>), ApplyError> {
        let Objects { network_policy, budget, service_account, service, claims, .. } = objects;
        if let Some(account) = service_account {
            ensure(self.client, account, find(&live.service_accounts, account)).await?;
        }
        let (mut there, mut refused) = (Vec::new(), None);
        for claim in claims {
            let before = find(&live.claims, claim);
            match ensure(self.client, claim, before).await {
                Ok(claim) => there.push(claim),
                Err(error) => {
                    there.extend(before.cloned());
                    refused = refused.or(Some(error));
                }
            }
        }
        ensure(self.client, service, find(&live.services, service)).await?;
        ensure(self.client, network_policy, find(&live.network_policies, network_policy)).await?;
        ensure(self.client, budget, find(&live.budgets, budget)).await?;
        Ok((there, refused))
    }

    /// The configuration. A member of another version may not be able to read one of this version, should it start
    /// again: while a member `waits` for its image the configuration stays as it is, but for certificates, which end.
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

    /// The configuration, then the members, each in its turn. One whose claim is not there stays as it is.
    async fn members(
        &self,
        identity: &Identity,
        objects: &Objects,
        claims: &[PersistentVolumeClaim],
        live: &Live,
    ) -> Result<Applied, ApplyError> {
        let has_claim = |wanted: &&Deployment| {
            let planned = objects.claims.iter().any(|claim| name(claim) == name(*wanted));
            !planned || claims.iter().any(|claim| name(claim) == name(*wanted))
        };
        let (wanted, without): (Vec<_>, Vec<_>) = objects.deployments.iter().partition(has_claim);
        let as_wanted = as_wanted(objects, live)?;
        let steps = wanted.into_iter().map(|wanted| self.step(wanted, find(&live.deployments, wanted), &as_wanted));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let without: Vec<_> = without.into_iter().map(|wanted| (wanted, find(&live.deployments, wanted))).collect();
        let waits = steps.iter().any(|step| step.image.is_some() && step.turn.is_err())
            || without.iter().any(|(wanted, there)| new_image(wanted, *there).is_some());
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
        applied.deployments.extend(without.into_iter().filter_map(|(_, there)| there.cloned()));
        Ok(applied)
    }

    /// Takes the turn where a Deployment is changed. One that is new, or needs no change, needs none.
    fn step<'b>(
        &'b self,
        wanted: &'b Deployment,
        there: Option<&'b Deployment>,
        as_wanted: &[&str],
    ) -> Result<Step<'b>, ApplyError> {
        let Some(live) = there else { return Ok(Step { wanted, there, image: None, turn: Ok(None) }) };
        let image = new_image(wanted, there);
        let turn = match differs(wanted, live)? {
            true => self.rollouts.take(name(wanted), Change { image, as_wanted }, &self.all).map(Some),
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

/// The names of a mirror's Deployments that are what is planned already.
fn as_wanted<'a>(objects: &'a Objects, live: &Live) -> Result<Vec<&'a str>, ApplyError> {
    let mut names = Vec::new();
    for wanted in &objects.deployments {
        if let Some(there) = find(&live.deployments, wanted)
            && !differs(wanted, there)?
        {
            names.push(name(wanted));
        }
    }
    Ok(names)
}

/// The mirror's Deployments that are planned no more, and serve still.
fn former(owner: &str, objects: &Objects, live: &Live) -> Vec<Deployment> {
    let planned = |found: &Deployment| objects.deployments.iter().any(|planned| name(planned) == name(found));
    let stays = |found: &Deployment| found.metadata.deletion_timestamp.is_none() && is_owned(found, Some(owner));
    let found = live.deployments.iter().map(|found| &**found);
    found.filter(|found| !planned(found) && stays(found) && serves(found)).cloned().collect()
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
