//! Tokens: one per (realm, service, scope) and who it is for, asked for once, renewed early.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use tidepool_oci::RepositoryName;
use tokio::time::Instant;
use url::Url;

use super::{
    UpstreamError,
    account::{Account, answered},
    challenge::Challenge,
    classify,
    course::Course,
    http::Http,
    read_limited,
};
use crate::tasks::{Flights, Tasks, lock};

/// What a realm that names no lifetime means (distribution's token specification), and the least that is believed: a token
/// that ends sooner is refused once, and another asked for.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A realm's word for longer than this is not taken; keeps sums of times in bounds.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long a realm may take; part of the time that the request it is for may take.
const TOKEN_WITHIN: Duration = Duration::from_secs(7);
/// How much sooner than a request its token is due: so that it hears why there is none.
const SOONER: Duration = Duration::from_millis(200);
/// A token with hundreds of scopes has a few KiB.
const LARGEST_ANSWER: usize = 256 << 10;
/// Repositories whose challenge is remembered; beyond it all are forgotten, which costs one 401 each.
const MOST_REPOSITORIES: usize = 10_000;

/// Tokens held at once; beyond it, once the ended ones are dropped, all are, which costs one request each.
const MOST_TOKENS: usize = 1000;
/// Larger ones fit no header that registries take.
const LARGEST_TOKEN: usize = 16 << 10;

/// A Bearer token. Its text shows in no log: `Debug` leaves it out.
#[derive(Clone)]
pub(super) struct Token {
    header: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("ends_at", &self.ends_at).finish_non_exhaustive()
    }
}

impl Token {
    /// The value of `Authorization`, marked as sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

type Fetched = Result<Token, UpstreamError>;

/// Who a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Everybody.
    Nobody,
    /// Who our password and our certificate say we are; the same as nobody where there are none.
    Us,
}

/// What one token is about.
type Key = (Challenge, Who);

/// The tokens for one upstream.
#[derive(Debug)]
pub(super) struct Tokens {
    http: Http,
    account: Option<Arc<Account>>,
    known: Arc<Mutex<Known>>,
    flights: Flights<Key, Fetched>,
}

#[derive(Debug, Default)]
struct Known {
    challenges: HashMap<RepositoryName, Challenge>,
    tokens: HashMap<Key, Token>,
}

impl Known {
    fn keep(&mut self, key: Key, token: Token) {
        let now = Instant::now();
        self.tokens.retain(|_, token| now < token.ends_at);
        if self.tokens.len() >= MOST_TOKENS {
            self.tokens.clear();
        }
        self.tokens.insert(key, token);
    }
}

impl Tokens {
    pub(super) fn new(http: Http, account: Option<Arc<Account>>, tasks: Tasks) -> Self {
        Self { http, account, known: Arc::default(), flights: Flights::new(tasks) }
    }

    /// The token to begin a request with, if there is one. Past 80 % of its life a new one is asked for meanwhile.
    pub(super) fn held(&self, repository: &RepositoryName, who: Who) -> Option<Token> {
        let now = Instant::now();
        let (key, token) = {
            let known = lock(&self.known);
            let key = (known.challenges.get(repository)?.clone(), who);
            let token = known.tokens.get(&key).filter(|token| now < token.ends_at)?.clone();
            (key, token)
        };
        if token.renew_at <= now {
            drop(self.flights.start(key.clone(), || self.fetch(key, now + TOKEN_WITHIN)));
        }
        Some(token)
    }

    /// A token that answers `challenge` and is not `refused`, the one that has just been turned down.
    pub(super) async fn renew(
        &self,
        repository: &RepositoryName,
        challenge: Challenge,
        who: Who,
        refused: Option<&Token>,
        until: Instant,
    ) -> Fetched {
        let key = (challenge.clone(), who);
        let held = {
            let mut known = lock(&self.known);
            if known.challenges.len() >= MOST_REPOSITORIES {
                *known = Known::default();
            }
            known.challenges.insert(repository.clone(), challenge);
            known.tokens.get(&key).filter(|token| Instant::now() < token.ends_at).cloned()
        };
        match held.filter(|token| refused.is_none_or(|refused| refused.header != token.header)) {
            Some(token) => Ok(token),
            None => {
                let fetched = self.flights.join(key.clone(), || self.fetch(key, until - SOONER)).await;
                fetched.unwrap_or(Err(UpstreamError::Stopped))
            }
        }
    }

    /// How many are held, and in how long the first of them ends.
    pub(super) fn count(&self) -> (usize, Option<Duration>) {
        let (known, now) = (lock(&self.known), Instant::now());
        let ends = known.tokens.values().filter_map(|token| token.ends_at.checked_duration_since(now));
        (ends.clone().count(), ends.min())
    }

    fn fetch(&self, key: Key, until: Instant) -> impl Future<Output = Fetched> + Send + 'static {
        let (http, known) = (self.http.of(key.1), Arc::clone(&self.known));
        let account = self.account.clone().filter(|_| key.1 == Who::Us);
        async move {
            let token = match account {
                Some(account) => log_in(&http, &account, &key.0, until).await?,
                None => ask(&http, key.0.url(None), None).await?,
            };
            lock(&known).keep(key, token.clone());
            Ok(token)
        }
    }
}

/// Asks for a token with our password; what is refused for one repository is told from a password that is wrong.
async fn log_in(http: &Http, account: &Account, challenge: &Challenge, until: Instant) -> Fetched {
    let turn = account.turn(until).await?;
    let Some(password) = account.header_for(&challenge.realm) else {
        let host = challenge.realm.host_str().unwrap_or_default();
        return Err(account.refused(&format!("it would have to be shown to {host}, which is not secure enough for it")));
    };
    let account_name = Some(account.username());
    let asked = ask(http, challenge.url(account_name), Some(password.clone()));
    let error = match turn.within(until, asked).await {
        Ok(token) => {
            account.accepted();
            return Ok(token);
        }
        Err(error) => error,
    };
    account.count(&error);
    let UpstreamError::Refused(status) = error else { return Err(error) };
    let (turn, accepted_meanwhile) = account.doubt(turn, until).await?;
    if accepted_meanwhile {
        return Err(error);
    }
    match turn.within(until, ask(http, challenge.login_url(account_name), Some(password))).await {
        Ok(_) => {
            account.accepted();
            Err(UpstreamError::Refused(status))
        }
        // Some give tokens for repositories only: then the first answer holds.
        Err(UpstreamError::Failing(other)) if !other.is_client_error() => Err(UpstreamError::Failing(other)),
        Err(UpstreamError::Refused(_) | UpstreamError::Failing(_) | UpstreamError::Garbage(_)) => {
            Err(account.refused(&answered("the token server", status)))
        }
        Err(other) => Err(other),
    }
}

async fn ask(http: &Http, url: Url, password: Option<HeaderValue>) -> Fetched {
    let begun = Instant::now();
    let asked = tokio::time::timeout(TOKEN_WITHIN, ask_patiently(http, url, password)).await;
    asked.unwrap_or_else(|_| Err(UpstreamError::Silent(begun.elapsed())))
}

async fn ask_patiently(http: &Http, url: Url, password: Option<HeaderValue>) -> Fetched {
    let origin = url.origin();
    let asked = http.send(&Method::GET, url, &HeaderMap::new(), password, &Course::default()).await;
    let answer = asked.map_err(UpstreamError::of_token_server)?;
    let own = answer.url().origin() == origin;
    let granted = match classify(answer) {
        Ok(answer) => read_grant(answer).await,
        // No realm knows what an image is: there, 404 is trouble and no absence.
        Err(UpstreamError::Gone(_)) => Err(UpstreamError::Failing(StatusCode::NOT_FOUND)),
        Err(error) => Err(error),
    };
    granted.map_err(|error| match error {
        // It was not shown the password, so it says nothing about that.
        UpstreamError::Failing(status) if status.is_server_error() => error,
        UpstreamError::Refused(_) | UpstreamError::Failing(_) | UpstreamError::Garbage(_) if !own => {
            UpstreamError::Redirect("from its token server to a host that gives no token")
        }
        other => other,
    })
}

async fn read_grant(answer: reqwest::Response) -> Fetched {
    let body = read_limited(answer, LARGEST_ANSWER).await?;
    let grant: Grant = serde_json::from_slice(&body).map_err(|_| UpstreamError::Garbage("no token in it"))?;
    grant.token(Instant::now()).ok_or(UpstreamError::Garbage("no token in it"))
}

/// A realm's answer.
#[derive(Deserialize)]
struct Grant {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    issued_at: Option<String>,
}

impl Grant {
    /// How long ago the token was made, by the realm's word and our clock.
    fn age(&self) -> Duration {
        let issued = self.issued_at.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let issued = issued.map(SystemTime::from);
        issued.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
    }

    fn token(self, now: Instant) -> Option<Token> {
        let age = self.age();
        let text = self.token.or(self.access_token).filter(|text| (1..=LARGEST_TOKEN).contains(&text.len()))?;
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        header.set_sensitive(true);
        let life = self.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
        let life = life.clamp(DEFAULT_LIFETIME, LONGEST_LIFETIME);
        // A realm may give out a token again that it made a while ago. Where it looks ended, a clock is wrong.
        let life = life.checked_sub(age).filter(|left| !left.is_zero()).unwrap_or(life);
        Some(Token { header, renew_at: now + life * 4 / 5, ends_at: now + life })
    }
}

#[cfg(test)]
mod tests;
