//! Requests to one upstream and the hosts it refers to: redirects, and which of their addresses to go to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;
use url::Url;

use super::{
    ClientError, Entry, Lookup, UpstreamError,
    address::{Boundary, proxies_of_environment},
    clients::{Kind, Pair},
    course::Course,
    elsewhere::Elsewhere,
    limits::Limits,
    order::Blame,
    token::Who,
};
use crate::layers::TRACE_HEADERS;

/// Redirects of one request; what the Go clients allow.
const MOST_REDIRECTS: usize = 10;
/// Whoever leaves sooner gave up for reasons of their own; later, for there was no answer.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Clients for one upstream. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Http {
    own: Pair,
    plain: Pair,
    others: Pair,
    /// Whether the second of each pair is in use.
    turned: Arc<AtomicBool>,
    host: Arc<str>,
    boundary: Boundary,
    elsewhere: Arc<Elsewhere>,
    /// What the registry says of our limits; of nobody's it says nothing that matters.
    limits: Option<Arc<Limits>>,
}

impl Http {
    /// Clients as the entry wants them. Its certificate, and its leave to take any, are for the registry's own host.
    pub(super) fn new(base: &Url, entry: &Entry, lookup: Lookup, limits: Arc<Limits>) -> Result<Self, ClientError> {
        let proxies = entry.egress.as_ref().map_or_else(proxies_of_environment, |egress| {
            egress.url.host_str().map(str::to_owned).into_iter().collect()
        });
        let boundary = Boundary::new(base, proxies, lookup);
        let others = Pair::new(&boundary, entry, Kind::Others)?;
        let plain =
            if entry.takes_any_certificate() { Pair::new(&boundary, entry, Kind::Plain)? } else { others.clone() };
        let own = if entry.identity.is_some() { Pair::new(&boundary, entry, Kind::Own)? } else { plain.clone() };
        let host = base.host_str().unwrap_or_default().into();
        let (turned, elsewhere) = (Arc::default(), Arc::default());
        Ok(Self { own, plain, others, turned, host, boundary, elsewhere, limits: Some(limits) })
    }

    /// Clients for the registry at that address, without anything.
    #[cfg(test)]
    pub(super) fn to(base: &Url, lookup: Lookup) -> Self {
        let config = tidepool_config::Upstream::plain("reg.test".parse().unwrap());
        let entry = Entry { config, login: None, authorities: None, identity: None, egress: None };
        let limits = Limits::new("reg.test".parse().unwrap(), crate::metrics::Metrics::default());
        Self::new(base, &entry, lookup, Arc::new(limits)).unwrap()
    }

    /// The client for requests as that one: nobody has no certificate.
    pub(super) fn of(&self, who: Who) -> Self {
        match who {
            Who::Us => self.clone(),
            Who::Nobody => Self { own: self.plain.clone(), limits: None, ..self.clone() },
        }
    }

    /// The same connections to hosts whose word on limits is not the registry's.
    pub(super) fn without_limits(&self) -> Self {
        Self { limits: None, ..self.clone() }
    }

    /// Goes to other addresses than this for a while, on other connections than those that are open.
    pub(super) fn avoid(&self, address: std::net::SocketAddr) {
        if self.boundary.avoid(address) {
            self.turn();
        }
    }

    fn turn(&self) {
        self.turned.fetch_xor(true, Ordering::Relaxed);
    }

    /// Sends a request without body and follows redirects; `authorization` and the trace go to the first host only.
    ///
    /// `course` hears of the first host's answer. No deadline of its own: callers have one.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        authorization: Option<HeaderValue>,
        course: &Course,
    ) -> Result<reqwest::Response, UpstreamError> {
        let mut target = url.clone();
        for hop in 0..=MOST_REDIRECTS {
            if !self.boundary.allows(&target) {
                return Err(UpstreamError::Redirect("to an address that it may not lead to"));
            }
            let answer = if target.origin() == url.origin() {
                self.send_twice(method, &target, headers, authorization.as_ref()).await?
            } else {
                let headers = without_trace(headers);
                let visit = self.send_twice(method, &target, &headers, None);
                self.elsewhere.visit(&target, course.insists(), visit).await?
            };
            if hop == 0 {
                course.hear(&answer);
                if let Some(limits) = &self.limits {
                    limits.hear(answer.headers());
                }
            }
            match location(&answer) {
                None => return Ok(answer),
                Some(next) => target = next.ok_or(UpstreamError::Redirect("to no address"))?,
            }
        }
        Err(UpstreamError::Redirect("in circles"))
    }

    /// Sends it, and once more to another address where one of several broke off.
    async fn send_twice(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response, UpstreamError> {
        let mut sending = Sending { http: self, url, begun: Instant::now(), ended: false };
        let first = self.send_once(method, url.clone(), headers, authorization).await;
        sending.ended = true;
        match first {
            Ok(answer) => {
                self.boundary.answered(url, answer.remote_addr(), sending.begun);
                Ok(answer)
            }
            // Where none took a connection, all have been tried.
            Err(error) if !error.is_connect() && sending.blame() => {
                self.send_once(method, url.clone(), headers, authorization).await.map_err(unreachable)
            }
            Err(error) => {
                // One may have taken it and said nothing in the TLS handshake. For another there is no time left.
                if error.is_timeout() {
                    sending.blame();
                }
                Err(unreachable(error))
            }
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let own = url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host));
        let client = if own { &self.own } else { &self.others };
        let client = client.get(self.turned.load(Ordering::Relaxed));
        let mut request = client.request(method.clone(), url).headers(headers.clone());
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.send().await
    }
}

/// Without its URL, which may hold a signature that opens a private blob.
fn unreachable(error: reqwest::Error) -> UpstreamError {
    UpstreamError::Unreachable(Arc::new(error.without_url()))
}

/// A request on its way. Given up after a while, its address is to blame.
struct Sending<'a> {
    http: &'a Http,
    url: &'a Url,
    begun: Instant,
    ended: bool,
}

impl Sending<'_> {
    /// Has another address tried next. Whether there is one.
    fn blame(&self) -> bool {
        let blame = self.http.boundary.unanswered(self.url, self.begun);
        if blame == Some(Blame::New) {
            self.http.turn();
        }
        blame.is_some()
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.ended && self.begun.elapsed() >= SILENT_AFTER {
            self.blame();
        }
    }
}

impl UpstreamError {
    /// The same failure, of a host that the upstream redirected to: not its own.
    pub(super) fn of_referred_host(self) -> Self {
        match self {
            Self::Unreachable(error) => Self::Elsewhere(error),
            other => other,
        }
    }

    /// The same answer, of a host that the upstream redirected to. What is not there is not there: some registries redirect
    /// for everything. But the host that was to give something is none to say that we may not have it.
    pub(super) fn of_other_host(self) -> Self {
        match self {
            Self::Refused(status) | Self::Failing(status) => Self::ElsewhereFailing(status),
            Self::Limited { .. } => Self::ElsewhereFailing(StatusCode::TOO_MANY_REQUESTS),
            other => other,
        }
    }

    /// The same failure, of the host that gives tokens: without it the upstream is of no use.
    pub(super) fn of_token_server(self) -> Self {
        match self {
            Self::Unreachable(error) | Self::Elsewhere(error) => Self::Realm(error),
            other => other,
        }
    }
}

/// What a host elsewhere is told: nothing of who asks us.
fn without_trace(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in TRACE_HEADERS {
        headers.remove(name);
    }
    headers
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

#[cfg(test)]
mod tests;
