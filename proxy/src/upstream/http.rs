//! Requests to one upstream and the hosts it refers to: connections, TLS, redirects.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    ClientError, Entry, UpstreamError,
    address::{Boundary, proxies_of_environment},
    token::Who,
};

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
    /// For the registry's own host.
    own: reqwest::Client,
    /// For the registry's own host, without our certificate.
    plain: reqwest::Client,
    /// For hosts that it redirects to, or names for tokens.
    others: reqwest::Client,
    host: Arc<str>,
    boundary: Boundary,
}

impl Http {
    /// Clients as the entry wants them. Its certificate, and its leave to take any, are for the registry's own host.
    pub(super) fn new(base: &Url, entry: &Entry) -> Result<Self, ClientError> {
        let proxies = entry.egress.as_ref().map_or_else(proxies_of_environment, |egress| {
            egress.url.host_str().map(str::to_owned).into_iter().collect()
        });
        let boundary = Boundary::new(base, proxies);
        let others = client(&boundary, entry, Kind::Others)?;
        let plain = if entry.takes_any_certificate() { client(&boundary, entry, Kind::Plain)? } else { others.clone() };
        let own = if entry.identity.is_some() { client(&boundary, entry, Kind::Own)? } else { plain.clone() };
        Ok(Self { own, plain, others, host: base.host_str().unwrap_or_default().into(), boundary })
    }

    /// The client for requests as that one: nobody has no certificate.
    pub(super) fn of(&self, who: Who) -> Self {
        match who {
            Who::Us => self.clone(),
            Who::Nobody => Self { own: self.plain.clone(), ..self.clone() },
        }
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
        let own = url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host));
        let client = if own { &self.own } else { &self.others };
        let mut request = client.request(method.clone(), url).headers(headers.clone());
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

/// What a client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Own,
    Plain,
    Others,
}

fn client(boundary: &Boundary, entry: &Entry, kind: Kind) -> Result<reqwest::Client, ClientError> {
    let own = kind == Kind::Own;
    let authorities = authorities(entry)?;
    let (identity, egress) = (if own { identity(entry)? } else { None }, egress(entry)?);
    let builder = || {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none()) // we decide about each hop
            .dns_resolver(boundary.clone())
            .http1_only() // HTTP/2 would have all fills share one connection, and its window
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(KEEP_IDLE)
            .user_agent(USER_AGENT)
            .tls_danger_accept_invalid_certs(kind != Kind::Others && entry.takes_any_certificate());
        if let Some(identity) = identity.clone() {
            builder = builder.identity(identity);
        }
        match egress.clone() {
            Some(proxy) => builder.no_proxy().proxy(proxy), // instead of the environment's
            None => builder,
        }
    };
    let built = builder().tls_certs_merge(authorities.clone()).build().or_else(|error| {
        // No authorities at all, as in a container without any: what is held and plain HTTP still work.
        tracing::warn!(error = &error as &dyn std::error::Error, "no authorities of the system, HTTPS will fail");
        builder().tls_certs_only(authorities).build()
    });
    built.map_err(|error| match &entry.identity {
        Some(_) if own => ClientError::Identity { path: entry.tls_file(|tls| &tls.cert_file) },
        _ => ClientError::Tls(error),
    })
}

fn authorities(entry: &Entry) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let Some(pem) = &entry.authorities else { return Ok(Vec::new()) };
    let parsed = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|list| !list.is_empty());
    parsed.ok_or_else(|| ClientError::ParseAuthorities { path: entry.tls_file(|tls| &tls.ca_file) })
}

fn identity(entry: &Entry) -> Result<Option<reqwest::Identity>, ClientError> {
    let Some(pem) = &entry.identity else { return Ok(None) };
    let refused = || ClientError::Identity { path: entry.tls_file(|tls| &tls.cert_file) };
    reqwest::Identity::from_pem(pem).map(Some).map_err(|_| refused())
}

fn egress(entry: &Entry) -> Result<Option<reqwest::Proxy>, ClientError> {
    let Some(egress) = &entry.egress else { return Ok(None) };
    let mut proxy = reqwest::Proxy::all(egress.url.clone()).map_err(ClientError::Tls)?;
    if let Some(login) = &egress.login {
        proxy = proxy.basic_auth(&login.username, &login.password);
    }
    Ok(Some(proxy.no_proxy(reqwest::NoProxy::from_string(&egress.no_proxy))))
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
