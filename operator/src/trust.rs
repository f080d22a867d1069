//! Trust in the cluster (design P14): agents and members know each other by certificates that the operator issues.
//!
//! - `stage`: when an authority is made, signs, and is forgotten; pure. `authorities`: what is in the Secret, moved on.
//!   `spread`: whether everybody is told of one.
//! - `issue`, `certificate`: making certificates and reading them back; `lifetimes`: how long they live.
//! - `members`, `agents`: what each side has, kept while it is good.
//! - `store`: Secret `tidepool-authority`, read from the caches and written only on the very state it was read in.
//!
//! Each certificate names a mirror by its uid, and whether a member or an agent shows it.

mod agents;
mod authorities;
mod certificate;
mod issue;
mod lifetimes;
mod members;
#[cfg(test)]
mod room;
mod spread;
mod stage;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verified;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{api::ObjectMeta, runtime::reflector::ObjectRef};
use tidepool_config::trust::AGENT_SECRET;
use tidepool_plan::{
    Identity,
    names::{AUTHORITY_SECRET, MANAGED_BY, MANAGED_BY_LABEL},
};

use crate::{context::Context, metrics::Expiring};

pub(crate) use lifetimes::Lifetimes;
pub use lifetimes::{Lifetime, LifetimeError, LifetimesError};
pub(crate) use store::Trust;

use authorities::Authorities;
use certificate::Certificate;
use issue::IssueError;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("cannot issue certificates")]
    Issue(#[from] IssueError),
    #[error("there is no authority that could sign")]
    NoAuthority,
    #[error("Secret {AUTHORITY_SECRET} is there and is not the operator's: delete or rename it")]
    Foreign,
    #[error("cannot read Secret {AUTHORITY_SECRET}")]
    Read(#[source] Box<kube::Error>),
    #[error("cannot write Secret {AUTHORITY_SECRET}")]
    Write(#[source] Box<kube::Error>),
}

/// The identity of the members of mirror `name` with `uid`, and when to ask again for it to be renewed in time.
///
/// `live` is the configuration's Secret as last seen: what is in it is kept while it is good, so asking again changes
/// nothing.
pub(crate) async fn member_identity(
    context: &Context,
    (name, uid): (&str, &str),
    live: Option<&Secret>,
) -> Result<(Identity, SystemTime), TrustError> {
    let (trust, now) = (&context.trust, SystemTime::now());
    let (authorities, _) = authorities(context, now).await?;
    let lifetime = trust.lifetimes.certificate;
    let past = trust.issued().members.remove(uid);
    let past = past.or_else(|| members::read(live?.data.as_ref()?));
    let pair = members::member(&authorities, uid, past, now, lifetime)?;
    trust.issued().members.insert(uid.to_owned(), pair.clone());
    context.metrics.expires(Expiring::Member(name), pair.certificate.validity.ends);
    let due = members::renewal(&pair.certificate, &authorities, lifetime);
    let identity = Identity { certificate: pair.certificate.pem, key: pair.key, authorities: authorities.bundle() };
    Ok((identity, due))
}

/// The Secret with the agents' key, and a certificate for each of the mirrors with these uids, as far as there is room:
/// the first come first; and when to ask again.
pub(crate) async fn agents_secret(context: &Context, uids: &[String]) -> Result<(Secret, SystemTime), TrustError> {
    let (trust, now) = (&context.trust, SystemTime::now());
    let (authorities, staged) = authorities(context, now).await?;
    let lifetime = trust.lifetimes.certificate;
    let past = trust.issued().agents.take().or_else(|| context.caches.agent_identity.state().first()?.data.clone());
    let (served, left_out) = uids.split_at(uids.len().min(agents::MOST));
    context.metrics.without_certificate(left_out.len());
    if !left_out.is_empty() {
        tracing::warn!(mirrors = left_out.len(), "nodes cannot pull through the newest mirrors: there are too many");
    }
    let agents = agents::Agents::new(&authorities, served, &past.unwrap_or_default(), now, lifetime)?;
    let data = agents.data(&authorities);
    let mut issued = trust.issued();
    issued.agents = Some(data.clone());
    let there: HashSet<_> = uids.iter().collect();
    issued.members.retain(|uid, _| there.contains(uid));
    drop(issued);
    let due = match agents.times(&authorities, lifetime) {
        Some((renewal, ends)) => {
            context.metrics.expires(Expiring::Agents, ends);
            staged.min(renewal)
        }
        None => staged,
    };
    let labels = [("app.kubernetes.io/name", "tidepool"), (MANAGED_BY_LABEL, MANAGED_BY)];
    let metadata = ObjectMeta {
        name: Some(AGENT_SECRET.to_owned()),
        namespace: Some(context.agent_namespace.clone()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        ..ObjectMeta::default()
    };
    Ok((Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }, due))
}

async fn authorities(context: &Context, now: SystemTime) -> Result<(Arc<Authorities>, SystemTime), TrustError> {
    let place = ObjectRef::<Secret>::new(AUTHORITY_SECRET).within(&context.defaults.namespace);
    let cached = context.caches.secrets.get(&place);
    let is_told = |authority: &Certificate| spread::is_told(&context.caches, &context.defaults.namespace, authority);
    let (authorities, due) = context.trust.authorities(cached.as_deref(), &is_told, now).await?;
    if let Some(ends) = authorities.ends() {
        context.metrics.expires(Expiring::Authority, ends);
    }
    Ok((authorities, due))
}

/// How long until `due`: at least a second, and at most `longest`.
pub(crate) fn until(due: SystemTime, longest: Duration) -> Duration {
    // It has passed: something is due now, yet not in a busy loop.
    let wait = due.duration_since(SystemTime::now()).unwrap_or_default();
    wait.clamp(Duration::from_secs(1), longest)
}
