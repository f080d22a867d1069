//! `POST /purge`: takes content out of the store, for an administrator on this machine or in this pod.
//!
//! The admin port knows no users, and scrapers reach it from other pods. So only this machine's own loopback address is
//! heard, which is `kubectl exec` or a port that is forwarded, both of which Kubernetes asks an administrator's rights for.
//! What a page in a browser sends is refused: by its type, by the name it calls us by, and by what browsers and proxies add.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::{FromRequest as _, Request, State},
    response::{IntoResponse, Response},
};
use clap::Args;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use tidepool_config::names::{ADMIN_PORT, PURGE_PATH};
use tidepool_oci::{Digest, Reference, RegistryName, RepositoryName, host_name};
use tokio::time::timeout;

use super::Admin;
use crate::{
    listen::HEAD_WITHIN,
    store::{Purge, Purged},
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// How long a purge may take: it reads the names of all that is kept.
const PURGED_WITHIN: Duration = Duration::from_secs(600);

/// What to take out of the store of a running proxy: a repository, one of its tags, or a digest.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeArgs {
    /// Registry of the repository, as images name it: docker.io
    #[arg(long, requires = "repository")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registry: Option<String>,
    /// Repository: all its tags, and what only they lead to
    #[arg(long, requires = "registry", required_unless_present = "digest")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// That tag only, and what only it leads to
    #[arg(long, requires = "repository")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// One blob or manifest, whatever leads to it
    #[arg(long, conflicts_with_all = ["registry", "repository", "tag"])]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Admin address of the proxy, on this machine
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)))]
    #[serde(skip, default = "nowhere")]
    admin: SocketAddr,
}

fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT))
}

/// Why nothing was purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The proxy was not reached.
    #[error("cannot ask the proxy at {0}")]
    Unreachable(SocketAddr, #[source] reqwest::Error),
    /// The proxy refused.
    #[error("the proxy at {0} answered {1}: {2}")]
    Refused(SocketAddr, StatusCode, String),
}

impl PurgeArgs {
    /// Asks the running proxy; gives its answer, JSON.
    pub(crate) async fn ask(&self) -> Result<String, PurgeError> {
        let unreachable = |error: reqwest::Error| PurgeError::Unreachable(self.admin, error.without_url());
        let client = reqwest::Client::builder().no_proxy().timeout(PURGED_WITHIN).build().map_err(unreachable)?;
        let body = serde_json::to_vec(self).unwrap_or_default();
        let request = client.post(format!("http://{}{PURGE_PATH}", self.admin)).body(body);
        let answer = request.header(header::CONTENT_TYPE, "application/json").send().await.map_err(unreachable)?;
        let (status, text) = (answer.status(), answer.text().await.map_err(unreachable)?);
        let text = text.trim().to_owned();
        if status.is_success() { Ok(text) } else { Err(PurgeError::Refused(self.admin, status, text)) }
    }

    /// What it means; the error names the field.
    fn parsed(self) -> Result<Purge, String> {
        let Self { registry, repository, tag, digest, admin: _ } = self;
        match (registry, repository, tag, digest) {
            (None, None, None, Some(digest)) => {
                let digest: Digest = digest.parse().map_err(|error| format!("digest: {error}"))?;
                Ok(Purge::Digest(digest))
            }
            (Some(registry), Some(repository), tag, None) => {
                let registry: RegistryName = registry.parse().map_err(|error| format!("registry: {error}"))?;
                let repository: RepositoryName = repository.parse().map_err(|error| format!("repository: {error}"))?;
                let repository = repository.qualified_for(&registry);
                Ok(
                    match tag
                        .map(|tag| tag.parse::<Reference>())
                        .transpose()
                        .map_err(|error| format!("tag: {error}"))?
                    {
                        None => Purge::Repository { registry, repository },
                        Some(Reference::Tag(tag)) => Purge::Tag { registry, repository, tag },
                        Some(Reference::Digest(_)) => return Err("tag: is a digest, give it as `digest`".to_owned()),
                    },
                )
            }
            (None, Some(_), ..) => Err("registry: missing; of which registry is the repository?".to_owned()),
            (Some(_), None, ..) | (None, None, Some(_), _) => Err("repository: missing".to_owned()),
            (None, None, None, None) => Err("give `registry` and `repository`, or `digest`".to_owned()),
            (Some(_), Some(_), _, Some(_)) => {
                Err("digest: stands alone, content has it whatever its repository".to_owned())
            }
        }
    }
}

pub(super) async fn purge(
    State(admin): State<Arc<Admin>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let headers = request.headers();
    if !is_this_machine(peer) || !is_called_so(headers) || is_passed_on(headers) {
        let text =
            "only from 127.0.0.1: run `/tidepool-proxy purge` in the pod with kubectl exec, or forward the port\n";
        tracing::warn!(%peer, "a purge was refused, it did not come from this machine");
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    // Only now, and not for ever: it is a line.
    let Ok(wanted) = timeout(HEAD_WITHIN, Json::<PurgeArgs>::from_request(request, &())).await else {
        return (StatusCode::REQUEST_TIMEOUT, "the request did not come in time\n").into_response();
    };
    let purge = match wanted {
        Ok(Json(wanted)) => wanted.parsed(),
        Err(error) => return (error.status(), format!("{}\n", error.body_text())).into_response(),
    };
    match purge {
        Err(text) => (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response(),
        Ok(purge) => answer(admin.store.purge(purge).await),
    }
}

fn answer(purged: std::io::Result<Purged>) -> Response {
    match purged {
        Ok(purged) => Json(purged).into_response(),
        Err(error) => {
            tracing::error!(%error, "purge failed");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the store cannot be read or written: {error}\n"))
                .into_response()
        }
    }
}

/// Not all of `127.0.0.0/8`: service meshes bring the world in by `127.0.0.6`.
fn is_this_machine(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST))
}

/// Whether we were called by an address of this machine, not by a name that somebody else has point here.
fn is_called_so(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| host_name(value.to_str().ok()?));
    host.is_some_and(|host| host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_this_machine))
}

/// Whether a proxy of this machine passes it on for somebody, or a browser sends it for a page.
fn is_passed_on(headers: &HeaderMap) -> bool {
    let tells = |name: &str| matches!(name, "forwarded" | "via" | "origin") || name.starts_with("x-forwarded-");
    headers.keys().any(|name| tells(name.as_str()) || name.as_str().starts_with("sec-fetch-"))
}
