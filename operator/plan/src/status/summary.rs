//! What a status says in few words: where the mirror is reached, its members, its registries.

use tidepool_api::{Address, Ingress, Members, RegistryMirror, RegistryMirrorStatus, Routing, UpstreamStatus};
use tidepool_config::{default_url, names::MEMBER_PORT};

use super::{Seen, Tally, Verdict, cache, members as reported};
use crate::{ValidMirror, ValidUpstream, names};

/// Where the mirror is reached. What the spec says of it is not in use while it could not be applied.
pub(super) fn address(seen: &Seen<'_>, previous: &RegistryMirrorStatus) -> Address {
    let name = names::service(seen.mirror.metadata.name.as_deref().unwrap_or_default());
    let in_use = matches!(seen.verdict, Verdict::Valid(_)) && seen.failure.is_none();
    let ingress = if in_use {
        seen.mirror.spec.ingress.as_ref().filter(|_| seen.ingress).map(host)
    } else {
        previous.address.as_ref().and_then(|address| address.ingress.clone())
    };
    Address { service: Some(format!("{name}.{}.svc:{MEMBER_PORT}", seen.namespace)), ingress }
}

fn host(ingress: &Ingress) -> String {
    match ingress.routing {
        Routing::Path => ingress.host.clone(),
        Routing::HostPerUpstream => format!("*.{}", ingress.host),
    }
}

pub(super) fn members(seen: &Seen<'_>, previous: &RegistryMirrorStatus) -> Members {
    let (desired, ready) = cache::counts(&seen.members);
    Members {
        desired,
        ready,
        version: cache::common_version(&seen.members),
        revision: reported::revision(&seen.reports, previous),
        kept_claims: seen.storage.kept.clone(),
    }
}

/// The first three registries and how many more, for the column: a list would show its first element alone.
pub(super) fn registries(mirror: &RegistryMirror) -> String {
    let names: Vec<_> = mirror.spec.upstreams.iter().map(|upstream| upstream.registry.as_str()).collect();
    let shown = names.iter().take(3).copied().collect::<Vec<_>>().join(",");
    match names.len().checked_sub(4) {
        Some(more) => format!("{shown} +{}", more + 1),
        None => shown,
    }
}

pub(super) fn upstreams(mirror: &ValidMirror, nodes: Option<&Tally>) -> Vec<UpstreamStatus> {
    let upstream = |upstream: &ValidUpstream| {
        let url = upstream.url.clone().or_else(|| default_url(&upstream.registry).ok());
        UpstreamStatus {
            registry: upstream.registry.to_string(),
            url: url.map(|url| url.as_str().trim_end_matches('/').to_owned()).unwrap_or_default(),
            shadowed_by: nodes.and_then(|tally| tally.shadowed_by.get(&upstream.registry).cloned()),
        }
    };
    mirror.upstreams.iter().map(upstream).collect()
}
