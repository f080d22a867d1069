//! Where the authorities are kept: Secret `tidepool-authority`, in the operator's namespace.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams},
};
use tidepool_plan::names::{AUTHORITY_SECRET, MANAGED_BY, MANAGED_BY_LABEL, MANAGER};
use tokio::sync::Mutex;

use super::{
    Lifetimes, TrustError,
    authorities::{Authorities, Data, IsTold},
    issue::Pair,
};
use crate::resources::label;

/// The cache has what was written long before; if not, what was written is gone.
const CACHED_WITHIN: Duration = Duration::from_secs(60);

/// The authorities, in the one place of the process that changes them.
pub(crate) struct Trust {
    pub(super) lifetimes: Lifetimes,
    api: Api<Secret>,
    state: Mutex<Option<State>>,
    issued: std::sync::Mutex<Issued>,
}

/// What this process issued last. The caches may be a moment behind it, and what is not seen yet must not be issued
/// twice.
#[derive(Default)]
pub(super) struct Issued {
    /// By the uid of the mirror.
    pub(super) members: HashMap<String, Pair>,
    /// The entries of the agents' Secret.
    pub(super) agents: Option<Data>,
}

/// The authorities as this process knows them.
struct State {
    /// The version of the Secret in the cache when they were read, or written: while the cache still has that one, it
    /// is behind what is here.
    seen: Option<String>,
    /// When they were written, if they were not read.
    written: Option<Instant>,
    authorities: Arc<Authorities>,
    /// Whether the Secret has our label. Without it others may take it for their own.
    labelled: bool,
}

impl Trust {
    pub(crate) fn new(lifetimes: Lifetimes, client: Client, namespace: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { lifetimes, api, state: Mutex::default(), issued: std::sync::Mutex::default() }
    }

    pub(super) fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The authorities as they are to be `now`, and when that changes. Writes them when something is due. `cached` is
    /// the Secret as last seen; `is_told` says whether everybody is told of an authority.
    pub(super) async fn authorities(
        &self,
        cached: Option<&Secret>,
        is_told: IsTold<'_>,
        now: SystemTime,
    ) -> Result<(Arc<Authorities>, SystemTime), TrustError> {
        let mut state = self.state.lock().await;
        let seen = cached.and_then(version);
        let known = match state.take() {
            Some(known) if known.is_of(&seen) => known,
            _ => {
                let labelled = cached.is_none_or(is_labelled);
                State { authorities: read(cached)?, written: None, labelled, seen }
            }
        };
        let known = state.insert(known);
        if known.labelled
            && let Some(due) = known.authorities.idle(is_told, now, self.lifetimes.authority)
        {
            return Ok((Arc::clone(&known.authorities), due));
        }
        let (authorities, due) = self.change(is_told, now).await?;
        (known.authorities, known.written, known.labelled) = (authorities, Some(Instant::now()), true);
        Ok((Arc::clone(&known.authorities), due))
    }

    /// Does what is due, decided anew on what the API server has, which the cache may be behind of.
    async fn change(&self, is_told: IsTold<'_>, now: SystemTime) -> Result<(Arc<Authorities>, SystemTime), TrustError> {
        let live = self.api.get_opt(AUTHORITY_SECRET).await.map_err(|source| TrustError::Read(Box::new(source)))?;
        let mut authorities = Authorities::clone(&*read(live.as_ref())?);
        let (changed, due) = authorities.advance(is_told, now, self.lifetimes.authority)?;
        if changed || live.as_ref().is_some_and(|live| !is_labelled(live)) {
            let wanted = secret(live.as_ref().and_then(version), &authorities);
            let manager = PatchParams::apply(MANAGER).force();
            let written = self.api.patch(AUTHORITY_SECRET, &manager, &Patch::Apply(&wanted)).await;
            written.map_err(|source| TrustError::Write(Box::new(source)))?;
        }
        Ok((Arc::new(authorities), due))
    }
}

impl State {
    /// Whether this is the newest there is, `seen` being the version in the cache.
    fn is_of(&self, seen: &Option<String>) -> bool {
        self.seen == *seen && self.written.is_none_or(|written| written.elapsed() < CACHED_WITHIN)
    }
}

fn version(secret: &Secret) -> Option<String> {
    secret.metadata.resource_version.clone()
}

fn is_labelled(secret: &Secret) -> bool {
    label(secret, MANAGED_BY_LABEL) == Some(MANAGED_BY)
}

/// What is in the Secret. One that is neither ours by its label nor holds an authority is somebody else's.
fn read(secret: Option<&Secret>) -> Result<Arc<Authorities>, TrustError> {
    let Some(secret) = secret else { return Ok(Arc::default()) };
    let authorities = secret.data.as_ref().map(Authorities::read).unwrap_or_default();
    let ours = is_labelled(secret) || authorities.signer().is_some();
    if ours { Ok(Arc::new(authorities)) } else { Err(TrustError::Foreign) }
}

/// The Secret as it is to be. With the version it was read in, so that a change in between is not undone: the API
/// server then refuses, and all is decided again.
fn secret(version: Option<String>, authorities: &Authorities) -> Secret {
    let labels = [("app.kubernetes.io/name", "tidepool"), (MANAGED_BY_LABEL, MANAGED_BY)];
    let metadata = ObjectMeta {
        name: Some(AUTHORITY_SECRET.to_owned()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        resource_version: version,
        ..ObjectMeta::default()
    };
    Secret { metadata, data: Some(authorities.data()), type_: Some("Opaque".to_owned()), ..Secret::default() }
}
