//! One member rolls at a time in the whole cluster: an upgrade of the operator changes every Deployment, and must not
//! stop every cache at once.
//!
//! Whoever wants to change a Deployment that exists takes the turn, or comes again. The turn is over when the change is
//! rolled out. A Deployment of which no further pod becomes ready holds the others up for [`PATIENCE`] only, however
//! often it is changed meanwhile. But an image with which one got stuck is rolled out no further, for it may be the
//! image's fault: that is known only of one that got it in a turn, since one that was made with it, or was so when this
//! process began, may never have been ready.
//!
//! Members of one mirror are stricter with each other. What one of them got and did not become available with goes to no
//! other, whatever it is: those that serve are all that the mirror has. This is read from the Deployment too, so that it
//! holds for the next leader; and a spec that is corrected is another, which goes on at once.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use tokio::time::Instant;

use crate::resources::name;

/// How long others wait for a Deployment that does not become ready.
const PATIENCE: Duration = Duration::from_secs(300);
/// Who waits comes again after about this long.
const COME_AGAIN: Duration = Duration::from_secs(5);

/// Why a Deployment cannot be changed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The one that is named here is changing, and comes first.
    Rolling(String),
    /// The one that is named here got stuck with the image that this one is to get.
    Failed(String),
    /// The one that is named here is of the same mirror, and did not become available with the spec that this one is to get.
    Sibling(String),
}

/// When to come again for who waits: not all at one time.
pub(crate) fn come_again() -> Duration {
    COME_AGAIN.mul_f64(rand::random_range(1.0..=2.0))
}

/// Whose turn it is, and who is not ready for how long.
#[derive(Debug, Default)]
pub(crate) struct Rollouts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// Deployments that are not rolled out, by name.
    unready: HashMap<String, Unready>,
    /// What Deployments got in a turn and did not become ready with yet, by the Deployment's name.
    given: HashMap<String, Given>,
}

/// What a Deployment got in a turn.
#[derive(Clone, Debug)]
struct Given {
    /// The generation that it made.
    generation: i64,
    /// The image, where that is a part of it.
    image: Option<String>,
}

/// What a Deployment is to become.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change<'a> {
    /// The image that it is to get, where it is another.
    pub(crate) image: Option<&'a str>,
    /// The Deployments of the same mirror that are what the same plan wants of them already.
    pub(crate) as_wanted: &'a [&'a str],
}

/// The turn.
#[derive(Clone, Debug)]
struct Held {
    deployment: String,
    /// When it was taken first, if it was taken again before its change was rolled out.
    since: Instant,
    /// The generation that the change made; none while it is being applied. The cache may be behind it.
    generation: Option<i64>,
}

#[derive(Debug)]
struct Unready {
    /// When it was first seen so, or had its chance.
    since: Instant,
    /// The image that it had then.
    image: Option<String>,
    /// Whether it was changed since: it is waited for once more then, and not for each change.
    had_its_chance: bool,
    /// The most of its pods that were seen with the template of then.
    progress: i32,
}

/// The right to change a Deployment. It ends when it is dropped, unless the change was applied: then when that is rolled
/// out.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn<'a> {
    rollouts: &'a Rollouts,
    deployment: String,
    /// The image that it is to get, where it is another.
    image: Option<String>,
    /// The turn it had already, whose change is not rolled out.
    before: Option<Held>,
}

impl Turn<'_> {
    /// The change was applied, and made the Deployment this.
    pub(crate) fn applied(self, applied: &Deployment) {
        let mut state = self.rollouts.state();
        let generation = applied.metadata.generation.unwrap_or_default();
        if let Some(held) = state.held.as_mut().filter(|held| held.deployment == self.deployment) {
            held.generation = Some(generation);
        }
        // An image that it got before and was not ready with yet is on trial still.
        let before = state.given.remove(&self.deployment).and_then(|given| given.image);
        let image = self.image.clone().or(before);
        state.given.insert(self.deployment.clone(), Given { generation, image });
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.rollouts.state();
        if state.held.as_ref().is_some_and(|held| held.deployment == self.deployment && held.generation.is_none()) {
            state.held = self.before.take();
        }
    }
}

impl Rollouts {
    /// Takes the turn for this change of a Deployment, or says what it waits for. `all` are the Deployments of all
    /// mirrors, as last seen.
    pub(crate) fn take(
        &self,
        deployment: &str,
        change: Change<'_>,
        all: &[Arc<Deployment>],
    ) -> Result<Turn<'_>, Behind> {
        let mut state = self.state();
        state.see(all);
        if let Some(held) = state.held.as_ref().filter(|held| held.deployment != deployment && !held.is_over(all)) {
            return Err(Behind::Rolling(held.deployment.clone()));
        }
        if let Some(behind) = state.hindrance(deployment, change, all) {
            return Err(behind);
        }
        let before = state.held.take().filter(|held| held.deployment == deployment && !held.is_done(all));
        let since = state.chance(deployment, before.as_ref());
        state.held = Some(Held { deployment: deployment.to_owned(), since, generation: None });
        let image = change.image.map(str::to_owned);
        Ok(Turn { rollouts: self, deployment: deployment.to_owned(), image, before })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes who is not ready, and who is again.
    fn see(&mut self, all: &[Arc<Deployment>]) {
        // The cache may be behind: it may have one that is ready with what was before.
        let proved = |found: &Deployment, given: &Given| {
            !is_rolling(found) && found.metadata.generation.unwrap_or_default() >= given.generation
        };
        self.given.retain(|name, given| find(all, name).is_some_and(|found| !proved(found, given)));
        let unready: HashMap<_, _> =
            all.iter().filter(|deployment| is_rolling(deployment)).map(|found| (name(&**found), found)).collect();
        self.unready.retain(|name, _| unready.contains_key(name.as_str()));
        for (name, found) in unready {
            let fresh = || Unready::new(found);
            self.unready.entry(name.to_owned()).or_insert_with(fresh).note(progress(found));
        }
    }

    /// Another Deployment that is not ready, and may yet become so or speaks against the change.
    fn hindrance(&self, deployment: &str, change: Change<'_>, all: &[Arc<Deployment>]) -> Option<Behind> {
        let others = || self.unready.iter().filter(|(name, _)| *name != deployment);
        let failed = others().filter(|(name, it)| it.is_stuck() && self.failed_sibling(name, change, all));
        if let Some(name) = failed.map(|(name, _)| name).min() {
            return Some(Behind::Sibling(name.clone()));
        }
        let failed = others().filter(|(name, it)| it.failed_with(self.given(name, change.image), find(all, name)));
        if let Some(name) = failed.map(|(name, _)| name).min() {
            return Some(Behind::Failed(name.clone()));
        }
        let rolling = others().filter(|(_, it)| !it.is_stuck()).map(|(name, _)| name).min();
        rolling.cloned().map(Behind::Rolling)
    }

    /// The image, if this Deployment got it in a turn and did not become ready with it yet.
    fn given<'a>(&self, name: &str, image: Option<&'a str>) -> Option<&'a str> {
        image.filter(|image| self.given.get(name).is_some_and(|given| given.image.as_deref() == Some(image)))
    }

    /// Whether a Deployment of the same mirror has what the change would bring, and was never available with it.
    fn failed_sibling(&self, name: &str, change: Change<'_>, all: &[Arc<Deployment>]) -> bool {
        let never_available = || find(all, name).is_some_and(|live| !was_available(live));
        change.as_wanted.contains(&name) && (self.given.contains_key(name) || never_available())
    }

    /// Since when a Deployment is to be waited for that is changed now.
    fn chance(&mut self, deployment: &str, before: Option<&Held>) -> Instant {
        let unready = self.unready.get_mut(deployment);
        if let Some(unready) = unready {
            if !unready.had_its_chance && before.is_none() {
                unready.since = Instant::now();
            }
            unready.had_its_chance = true;
            return before.map_or(unready.since, |before| before.since);
        }
        before.map_or_else(Instant::now, |before| before.since)
    }
}

impl Unready {
    fn new(found: &Deployment) -> Self {
        let image = image(found).map(str::to_owned);
        Self { since: Instant::now(), image, had_its_chance: false, progress: progress(found) }
    }

    /// One of many pods is waited for as long as one that is alone.
    fn note(&mut self, progress: i32) {
        if progress > self.progress {
            (self.progress, self.since) = (progress, Instant::now());
        }
    }

    fn is_stuck(&self) -> bool {
        self.since.elapsed() >= PATIENCE
    }

    /// Whether it is stuck with the image that it was given. One that was not ready with another image before has reasons of its
    /// own.
    fn failed_with(&self, given: Option<&str>, live: Option<&Deployment>) -> bool {
        self.is_stuck() && given.is_some() && self.image.as_deref() == given && live.and_then(image) == given
    }
}

impl Held {
    fn is_over(&self, all: &[Arc<Deployment>]) -> bool {
        self.since.elapsed() >= PATIENCE || self.is_done(all)
    }

    fn is_done(&self, all: &[Arc<Deployment>]) -> bool {
        let done = |deployment: &Deployment| {
            self.generation.is_some_and(|generation| deployment.metadata.generation >= Some(generation))
                && !is_rolling(deployment)
        };
        find(all, &self.deployment).is_none_or(done)
    }
}

fn find<'a>(all: &'a [Arc<Deployment>], wanted: &str) -> Option<&'a Deployment> {
    all.iter().map(|deployment| &**deployment).find(|deployment| name(*deployment) == wanted)
}

/// The image of a Deployment's members.
pub(crate) fn image(deployment: &Deployment) -> Option<&str> {
    deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.as_deref()
}

/// Whether pods of a Deployment are still to be replaced, to become ready, or to have been so for long enough that
/// agents know. One that goes is of no concern.
pub(crate) fn is_rolling(deployment: &Deployment) -> bool {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return true };
    let seen = status.observed_generation >= deployment.metadata.generation;
    let counts = [status.replicas, status.updated_replicas, status.available_replicas];
    let done = seen && counts.iter().all(|count| count.unwrap_or_default() == desired);
    !done && deployment.metadata.deletion_timestamp.is_none()
}

/// Whether all pods were available with the present template once, whatever became of them: Kubernetes says so until
/// the template changes.
fn was_available(deployment: &Deployment) -> bool {
    let conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let reason = conditions.filter(|found| found.type_ == "Progressing").find_map(|found| found.reason.as_deref());
    reason == Some("NewReplicaSetAvailable")
}

/// How many pods have the present template, of those that serve.
fn progress(deployment: &Deployment) -> i32 {
    let seen = |status: &&DeploymentStatus| status.observed_generation >= deployment.metadata.generation;
    let Some(status) = deployment.status.as_ref().filter(seen) else { return 0 };
    status.updated_replicas.unwrap_or_default().min(status.available_replicas.unwrap_or_default())
}
