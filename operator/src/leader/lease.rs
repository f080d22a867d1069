//! One try at the lease.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tidepool_plan::names::{MANAGED_BY, MANAGED_BY_LABEL, MANAGER};
use tokio::time::Instant;

use super::LEASE;

/// What came of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// We hold it, by a write just now.
    Held,
    /// Another holds it.
    HeldBy(String),
    /// Somebody wrote it between our reading and our writing.
    Conflict,
    /// There is none yet, and it is too early to make one.
    TooEarly,
}

/// One of those who want the lease.
pub(super) struct Candidate {
    pub(super) api: Api<Lease>,
    pub(super) name: String,
    /// Differs from that of every other process there ever was.
    pub(super) identity: String,
    /// A lease that does not exist is not made before.
    pub(super) not_before: Option<Instant>,
    /// The lease as last seen, and when it was first seen so.
    observed: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    pub(super) fn new(api: Api<Lease>, name: String, identity: String) -> Self {
        Self { api, name, identity, not_before: None, observed: None }
    }

    /// Takes the lease if it is free, renews it if it is ours.
    pub(super) async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let early = self.not_before.is_some_and(|time| Instant::now() < time);
            return if early { Ok(Attempt::TooEarly) } else { self.create().await };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        self.observe(&spec);
        match holder(&spec) {
            Some(other) if other != self.identity && !self.has_expired() => Ok(Attempt::HeldBy(other.to_owned())),
            past => {
                let wanted = self.taken(&spec, past == Some(&*self.identity));
                self.replace(lease, wanted).await
            }
        }
    }

    /// Gives the lease back if it is ours, so that another need not wait until it expires. Says whether it was.
    pub(super) async fn release(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(false) };
        let spec = lease.spec.clone().unwrap_or_default();
        if holder(&spec) != Some(&*self.identity) {
            return Ok(false);
        }
        let now = Some(MicroTime(Timestamp::now()));
        let wanted = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: now.clone(),
            renew_time: now,
            ..spec
        };
        Ok(self.replace(lease, wanted).await? == Attempt::Held)
    }

    async fn create(&self) -> Result<Attempt, kube::Error> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: Some(self.taken(&LeaseSpec::default(), false)) };
        written(self.api.create(&manager(), &lease).await)
    }

    /// With the version it was read in, the API server refuses if it changed since.
    async fn replace(&self, lease: Lease, spec: LeaseSpec) -> Result<Attempt, kube::Error> {
        let lease = Lease { spec: Some(spec), ..lease };
        written(self.api.replace(&self.name, &manager(), &lease).await)
    }

    fn observe(&mut self, spec: &LeaseSpec) {
        if self.observed.as_ref().is_none_or(|(seen, _)| seen != spec) {
            self.observed = Some((spec.clone(), Instant::now()));
        }
    }

    /// Whether it was not seen to change for as long as its holder asked for.
    fn has_expired(&self) -> bool {
        let Some((spec, since)) = &self.observed else { return false };
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        // Nonsense in it must not lock everybody out.
        let duration = seconds.map_or(LEASE, Duration::from_secs).min(LEASE * 4);
        since.elapsed() > duration
    }

    fn taken(&self, past: &LeaseSpec, ours: bool) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = past.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: if ours { past.acquire_time.clone() } else { now.clone() },
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            renew_time: now,
            ..past.clone()
        }
    }
}

/// Who holds it; a lease that was given back has an empty holder.
fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn manager() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn written(result: Result<Lease, kube::Error>) -> Result<Attempt, kube::Error> {
    match result {
        Ok(_) => Ok(Attempt::Held),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(Attempt::Conflict),
        Err(error) => Err(error),
    }
}
