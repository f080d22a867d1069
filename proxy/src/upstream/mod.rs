//! Registries that are mirrored: how each is asked, and what its answers mean.
//!
//! One [`Upstream`] per entry of the configuration, with its own connections, tokens and breaker. [`Upstream::send`] is
//! the one way out: it gets a token where the registry wants one ([`token`]), follows redirects ([`http`]) within the
//! rules of [`address`], keeps to the request's deadline, and turns every answer that is no success into an
//! [`UpstreamError`].

mod address;
mod breaker;
mod challenge;
mod error;
mod http;
mod token;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidepool_config::default_url;
use tidepool_oci::{RegistryName, RepositoryGlob, RepositoryName};
use tokio::time::Instant;
use url::Url;

pub(crate) use breaker::Breaker;
pub(crate) use error::UpstreamError;
pub use http::ClientError;
pub(crate) use http::read_limited;

use crate::{
    metrics::{Class, Metrics, UpstreamResult},
    settings::Files,
    tasks::Tasks,
};
use http::Http;
use token::Tokens;

/// One mirrored registry.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: RegistryName,
    base: Url,
    repositories: Vec<RepositoryGlob>,
    http: Http,
    tokens: Tokens,
    breaker: Breaker,
    metrics: Metrics,
}

/// A request to an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) repository: &'a RepositoryName,
    /// Below the repository: `manifests/1`, with a query where there is one.
    pub(crate) path: &'a str,
    /// `Accept`, `Range`.
    pub(crate) headers: HeaderMap,
    pub(crate) class: Class,
    /// When the answer's headers must be here.
    pub(crate) until: Instant,
    /// Whether to ask even while the breaker is open: a fill under way resumes in its own rhythm.
    pub(crate) insist: bool,
}

impl<'a> Ask<'a> {
    /// A plain request, to be answered within `deadline`.
    pub(crate) fn new(
        method: Method,
        repository: &'a RepositoryName,
        path: &'a str,
        class: Class,
        deadline: Duration,
    ) -> Self {
        let until = Instant::now() + deadline;
        Self { method, repository, path, headers: HeaderMap::new(), class, until, insist: false }
    }
}

impl Upstream {
    /// Prepares an upstream; asks nothing of it.
    pub(crate) fn new(
        config: &tidepool_config::Upstream,
        files: &Files,
        metrics: Metrics,
        tasks: &Tasks,
    ) -> Result<Self, ClientError> {
        let base = match &config.url {
            Some(url) => url.clone(),
            None => default_url(&config.registry).map_err(ClientError::Address)?,
        };
        let repositories = config.repositories.iter().map(|glob| glob.parse()).collect::<Result<_, _>>();
        let ca_file = config.tls.as_ref().and_then(|tls| tls.ca_file.as_deref());
        let authorities = ca_file.map_or(Ok(Vec::new()), |path| http::read_authorities(path, files))?;
        let http = Http::new(&base, authorities)?;
        Ok(Self {
            name: config.registry.clone(),
            repositories: repositories.map_err(ClientError::Repositories)?,
            tokens: Tokens::new(http.clone(), tasks.clone()),
            base,
            http,
            breaker: Breaker::default(),
            metrics,
        })
    }

    /// The name that images carry.
    pub(crate) fn name(&self) -> &RegistryName {
        &self.name
    }

    /// Whether it is worth asking now, and how its failures are noted.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether the repository may be pulled.
    pub(crate) fn lists(&self, repository: &RepositoryName) -> bool {
        self.repositories.is_empty() || self.repositories.iter().any(|glob| glob.matches(repository))
    }

    /// Counts bytes of a body that this upstream sent.
    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.metrics.upstream_bytes(&self.name, bytes);
    }

    /// Asks, and returns an answer of success only: 200 or 206, body unread.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<reqwest::Response, UpstreamError> {
        if !ask.insist && self.breaker.is_open() {
            return Err(UpstreamError::Resting);
        }
        let (begun, answered) = (Instant::now(), AtomicBool::new(false));
        let sent = tokio::time::timeout_at(ask.until, self.converse(ask, &answered)).await;
        let sent = match sent {
            Ok(result) => result.and_then(classify),
            Err(_) => Err(UpstreamError::Silent(begun.elapsed())),
        };
        // Where the registry itself answered, a failure is that of a host it redirected to.
        let answered = answered.load(Ordering::Relaxed);
        // Registries gather lists for long: that says nothing about pulls.
        let slow_list =
            matches!(ask.class, Class::Tags | Class::Referrers) && matches!(sent, Err(UpstreamError::Silent(_)));
        if answered || !slow_list {
            self.breaker.note(sent.as_ref().err(), answered, begun);
        }
        self.metrics.upstream_request(&self.name, ask.class, UpstreamResult::of(sent.as_ref().err()));
        sent
    }

    /// The request, and once more with a token where the registry asks for one.
    async fn converse(&self, ask: &Ask<'_>, answered: &AtomicBool) -> Result<reqwest::Response, UpstreamError> {
        let url = self.url(ask)?;
        let token = self.tokens.held(ask.repository);
        let first = self.request(ask, url.clone(), token.as_ref().map(token::Token::header), answered).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let Some(challenge) = self.challenge(&first, ask.repository).await? else { return Ok(first) };
        let token = self.tokens.renew(ask.repository, challenge, token.as_ref()).await?;
        self.request(ask, url, Some(token.header()), answered).await
    }

    async fn request(
        &self,
        ask: &Ask<'_>,
        url: Url,
        token: Option<HeaderValue>,
        answered: &AtomicBool,
    ) -> Result<reqwest::Response, UpstreamError> {
        let on_answer = |status| answered.store(status != StatusCode::UNAUTHORIZED, Ordering::Relaxed);
        self.http.send(&ask.method, url, &ask.headers, token, &on_answer).await
    }

    /// The Bearer challenge of a 401; where that has none, the one that `/v2/` answers with.
    async fn challenge(
        &self,
        refusal: &reqwest::Response,
        repository: &RepositoryName,
    ) -> Result<Option<challenge::Challenge>, UpstreamError> {
        if let Some(found) = challenge::find(refusal.headers(), repository) {
            return Ok(Some(found));
        }
        let ping = self.http.send(&Method::GET, self.below_v2("")?, &HeaderMap::new(), None, &|_| {}).await?;
        Ok(challenge::find(ping.headers(), repository))
    }

    fn url(&self, ask: &Ask<'_>) -> Result<Url, UpstreamError> {
        self.below_v2(&format!("{}/{}", ask.repository, ask.path))
    }

    fn below_v2(&self, path: &str) -> Result<Url, UpstreamError> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/v2/{path}")).map_err(|_| UpstreamError::Garbage("no valid address"))
    }
}

/// What an answer means; success passes.
fn classify(answer: reqwest::Response) -> Result<reqwest::Response, UpstreamError> {
    match answer.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
            let encoded = answer.headers().get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
            if encoded { Err(UpstreamError::Garbage("an encoding we did not ask for")) } else { Ok(answer) }
        }
        status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => Err(UpstreamError::Gone(status)),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(UpstreamError::Refused(status)),
        StatusCode::TOO_MANY_REQUESTS => Err(UpstreamError::Limited { retry_after: error::retry_after(&answer) }),
        status => Err(UpstreamError::Failing(status)),
    }
}
