//! Registries that are mirrored: how each is asked, and what its answers mean.
//!
//! One [`Upstream`] per entry of the configuration, with its own connections, tokens and breaker. [`Upstream::send`] is
//! the one way out: it shows a token or a password where the registry wants one ([`converse`], [`token`], [`account`]), follows redirects ([`http`]) within the
//! rules of [`address`], keeps to the request's deadline, and turns every answer that is no success into an
//! [`UpstreamError`]. The [`breaker`] says when it is worth asking; hosts that the registry redirects to have one each
//! ([`elsewhere`]). Of several addresses of a host the one that failed lately comes last ([`order`]).

mod account;
mod address;
mod breaker;
mod challenge;
mod clients;
mod converse;
mod course;
mod elsewhere;
mod entry;
mod error;
mod gauges;
mod http;
mod limits;
mod lookup;
mod order;
mod reach;
mod token;
mod turns;
mod verdict;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::http::{HeaderMap, Method, StatusCode, header};
use tidepool_config::{CredentialState, Scope, Tags, UpstreamHealth, UpstreamState, default_url};
use tidepool_oci::{RegistryName, RepositoryGlob, RepositoryName};
use tokio::time::Instant;
use url::Url;

pub(crate) use breaker::Breaker;
pub use entry::ClientError;
pub(crate) use entry::{Egress, Entry};
pub(crate) use error::UpstreamError;
pub(crate) use gauges::UpstreamGauges;
pub(crate) use http::read_limited;
pub use lookup::Lookup;

use crate::{
    metrics::{Class, Metrics, UpstreamResult},
    tasks::Tasks,
};
use account::Account;
use course::Course;
use http::Http;
use limits::Limits;
use reach::{LastWord, seconds_now};
use token::Tokens;

/// The addresses that a challenge has us ask for a token.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_challenge(headers: &HeaderMap) -> Vec<Url> {
    let repository = "a/b".parse().ok();
    match repository.and_then(|repository| challenge::find(headers, &repository)) {
        Some(challenge::Wanted::Bearer(found)) => {
            vec![found.url(None), found.url(Some("me")), found.login_url(Some("me"))]
        }
        Some(challenge::Wanted::Basic) | None => Vec::new(),
    }
}

/// An upstream as it was configured at one time. A reload that changes it makes another of the same name: what the one
/// reads with its credentials, the other may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UpstreamId(u64);

impl UpstreamId {
    /// One that no other has had.
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One mirrored registry.
#[derive(Debug)]
pub(crate) struct Upstream {
    id: UpstreamId,
    entry: Entry,
    base: Url,
    account: Option<Arc<Account>>,
    repositories: Vec<RepositoryGlob>,
    tags: Tags,
    http: Http,
    tokens: Tokens,
    breaker: Breaker,
    /// What registries say of lists says nothing of pulls: only limits are noted here, and obeyed by lists.
    lists: Breaker,
    last: LastWord,
    limits: Arc<Limits>,
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
    /// Whether to ask as anybody could, though there are credentials.
    pub(crate) anonymously: bool,
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
        Self { method, repository, path, headers: HeaderMap::new(), class, until, insist: false, anonymously: false }
    }
}

impl Upstream {
    /// Prepares an upstream; asks nothing of it.
    pub(crate) fn new(entry: Entry, metrics: Metrics, tasks: &Tasks, lookup: &Lookup) -> Result<Self, ClientError> {
        let config = &entry.config;
        let base = match &config.url {
            Some(url) => url.clone(),
            None => default_url(&config.registry).map_err(ClientError::Address)?,
        };
        let repositories = config.repositories.iter().map(|glob| glob.parse()).collect::<Result<_, _>>();
        let limits = Arc::new(Limits::new(config.registry.clone(), metrics.clone()));
        let http = Http::new(&base, &entry, lookup.clone(), Arc::clone(&limits))?;
        let account = match &entry.login {
            Some(login) => {
                let verified = !entry.takes_any_certificate();
                let made = Account::new(&config.registry, &base, verified, login, entry.scope(), metrics.clone());
                Some(Arc::new(made.ok_or(ClientError::Username)?))
            }
            None => None,
        };
        Ok(Self {
            id: UpstreamId::next(),
            repositories: repositories.map_err(ClientError::Repositories)?,
            tokens: Tokens::new(http.without_limits(), account.clone(), tasks.clone()),
            account,
            base,
            http,
            tags: config.tags.clone().unwrap_or_default(),
            breaker: Breaker::default(),
            lists: Breaker::default(),
            last: LastWord::default(),
            limits,
            metrics,
            entry,
        })
    }

    pub(crate) fn id(&self) -> UpstreamId {
        self.id
    }

    /// Whether `entry` would make the same upstream.
    pub(crate) fn is_of(&self, entry: &Entry) -> bool {
        self.entry == *entry
    }

    /// What the credentials are for; none where everything is asked for as anybody could, so that all who may ask us may
    /// have the answer. A certificate of ours counts as credentials for all images, unless a password says otherwise.
    pub(crate) fn scope(&self) -> Option<Scope> {
        let of_account = self.account.as_ref().map(|account| account.scope());
        of_account.or_else(|| self.has_identity().then_some(Scope::AllImages))
    }

    fn has_identity(&self) -> bool {
        self.entry.identity.is_some()
    }

    /// How it behaves, for who looks from outside; a refusal of the credentials is the message that matters most.
    pub(crate) fn state(&self) -> UpstreamState {
        let (reach, failure) = self.last.get();
        let verdict = self.account.as_ref().map(|account| account.verdict());
        let (credentials, refusal) = verdict.unwrap_or((CredentialState::Untried, None));
        let (registry, message) = (self.name().clone(), refusal.or(failure));
        UpstreamState { registry, reach, credentials, message, health: self.health() }
    }

    fn health(&self) -> UpstreamHealth {
        let (rests, now) = (self.breaker.rests(), seconds_now());
        let at = |left: Option<Duration>| left.map(|left| now + left.as_secs() + 1);
        let (tokens, first) = self.tokens.count();
        UpstreamHealth {
            open_until: at(rests.open),
            strained_until: at(rests.strained),
            retry_after: at(rests.limited),
            failures: rests.failures,
            last_failure: self.last.failure(),
            rate_limit: self.limits.heard(),
            tokens,
            first_token_ends: first.map(|left| now + left.as_secs()),
        }
    }

    /// Goes to other addresses than this for a while, where there are any: it cut a transfer off, or let it stall.
    pub(crate) fn avoid(&self, address: SocketAddr) {
        self.http.avoid(address);
    }

    /// Where it is reached.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// The name that images carry.
    pub(crate) fn name(&self) -> &RegistryName {
        &self.entry.config.registry
    }

    /// Whether it is worth asking now, and how its failures are noted.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether the repository may be pulled.
    pub(crate) fn lists(&self, repository: &RepositoryName) -> bool {
        self.repositories.is_empty() || self.repositories.iter().any(|glob| glob.matches(repository))
    }

    /// How its tags are kept.
    pub(crate) fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Counts bytes of a body that this upstream sent.
    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.metrics.upstream_bytes(&self.entry.config.registry, bytes);
    }

    /// Counts a fill that goes on after a connection broke.
    pub(crate) fn count_resumed_fill(&self) {
        self.metrics.fill_resumed(&self.entry.config.registry);
    }

    /// Asks, and returns an answer of success only: 200 or 206, body unread.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<reqwest::Response, UpstreamError> {
        let _leave = self.leave(ask)?;
        let (begun, course) = (Instant::now(), Course::new(ask.insist));
        let sent = tokio::time::timeout_at(ask.until, self.converse(ask, &course)).await;
        let sent = match sent {
            Ok(result) => result.and_then(|answer| {
                let own = self.is_own(&answer);
                classify(answer).map_err(|error| if own { error } else { error.of_other_host() })
            }),
            Err(_) => Err(UpstreamError::Silent(begun.elapsed())),
        };
        let sent = sent.map_err(|error| if ask.anonymously { self.heard_by_stranger(error) } else { error });
        self.note(ask, &course, begun, sent.as_ref().err());
        let result = UpstreamResult::of(sent.as_ref().err());
        self.metrics.upstream_request(&self.entry.config.registry, ask.class, result, begun.elapsed());
        sent
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
        StatusCode::TOO_MANY_REQUESTS => {
            Err(UpstreamError::Limited { retry_after: error::retry_after(answer.headers()) })
        }
        status => Err(UpstreamError::Failing(status)),
    }
}

#[cfg(test)]
mod tests;
