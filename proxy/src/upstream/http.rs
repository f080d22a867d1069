//! Requests to one upstream and the hosts it refers to: connections, TLS, redirects.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidepool_oci::RepositoryGlobError;
use url::Url;

use super::{
    UpstreamError,
    address::{Boundary, proxies_of_environment},
};
use crate::settings::{FileError, Files};

/// Redirects of one request; what the Go clients allow.
const MOST_REDIRECTS: usize = 10;
/// Within the deadline of HEAD and manifests, so that a second address can be tried.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Shorter than what registries and the load balancers before them keep.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("tidepool/", env!("CARGO_PKG_VERSION"));

/// A client for one upstream. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    boundary: Boundary,
}

/// Why an upstream's entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The registry's name makes no address.
    #[error("url: the registry's name makes no address, name one")]
    Address(#[source] url::ParseError),
    /// A pattern in `repositories`.
    #[error("repositories: {0}")]
    Repositories(RepositoryGlobError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no certificate.
    #[error("tls.caFile: {path} holds no PEM certificate")]
    ParseAuthorities {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] reqwest::Error),
}

impl Http {
    /// A client that trusts the system's authorities and those given.
    pub(super) fn new(base: &Url, authorities: Vec<reqwest::Certificate>) -> Result<Self, ClientError> {
        let boundary = Boundary::new(base, proxies_of_environment());
        let builder = || {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none()) // we decide about each hop
                .dns_resolver(boundary.clone())
                .http1_only() // HTTP/2 would have all fills share one connection, and its window
                .connect_timeout(CONNECT_WITHIN)
                .pool_idle_timeout(KEEP_IDLE)
                .user_agent(USER_AGENT)
        };
        let built = builder().tls_certs_merge(authorities.clone()).build().or_else(|error| {
            // No authorities at all, as in a container without any: what is held and plain HTTP still work.
            tracing::warn!(error = &error as &dyn std::error::Error, "no authorities of the system, HTTPS will fail");
            builder().tls_certs_only(authorities).build()
        });
        Ok(Self { client: built.map_err(ClientError::Tls)?, boundary })
    }

    /// Sends a request without body and follows redirects; `authorization` goes to the first host only.
    ///
    /// `on_answer` hears the status of the first host's answer. No deadline of its own: callers have one.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        authorization: Option<HeaderValue>,
        on_answer: &(dyn Fn(StatusCode) + Sync),
    ) -> Result<reqwest::Response, UpstreamError> {
        let mut target = url.clone();
        for hop in 0..=MOST_REDIRECTS {
            if !self.boundary.allows(&target) {
                return Err(UpstreamError::Redirect("to an address that it may not lead to"));
            }
            let authorization = authorization.as_ref().filter(|_| target.origin() == url.origin());
            let sent = self.send_once(method, target.clone(), headers, authorization).await;
            let answer = sent.map_err(|error| if hop == 0 { error } else { error.of_referred_host() })?;
            if hop == 0 {
                on_answer(answer.status());
            }
            match location(&answer) {
                None => return Ok(answer),
                Some(next) => target = next.ok_or(UpstreamError::Redirect("to no address"))?,
            }
        }
        Err(UpstreamError::Redirect("in circles"))
    }

    async fn send_once(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response, UpstreamError> {
        let mut request = self.client.request(method.clone(), url).headers(headers.clone());
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        // Without its URL, which may hold a signature that opens a private blob.
        request.send().await.map_err(|error| UpstreamError::Unreachable(Arc::new(error.without_url())))
    }
}

impl UpstreamError {
    /// The same failure, of a host that the upstream referred to: not its own.
    pub(super) fn of_referred_host(self) -> Self {
        match self {
            Self::Unreachable(error) => Self::Elsewhere(error),
            other => other,
        }
    }
}

/// Where an answer redirects to: `None` if it does not, `Some(None)` if to nowhere.
fn location(answer: &reqwest::Response) -> Option<Option<Url>> {
    let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = || {
        let text = answer.headers().get(header::LOCATION)?.to_str().ok()?;
        answer.url().join(text).ok()
    };
    redirects.then(location)
}

pub(super) fn read_authorities(path: &Path, files: &Files) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let pem = files.get("tls.caFile", path)?;
    let parsed = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|list| !list.is_empty());
    parsed.ok_or_else(|| ClientError::ParseAuthorities { path: path.to_owned() })
}

/// Reads a whole body of at most `limit` bytes. No deadline of its own: callers have one.
pub(crate) async fn read_limited(mut answer: reqwest::Response, limit: usize) -> Result<Bytes, UpstreamError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| UpstreamError::Cut(Some(Arc::new(e.without_url()))))? {
        if body.len() + chunk.len() > limit {
            return Err(UpstreamError::Garbage("more bytes than such an answer may have"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
