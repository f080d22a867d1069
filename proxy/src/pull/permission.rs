//! Who may read what (P14). Asked before anything is served, also from the store.
//!
//! Where credentials are used, an answer of the upstream no longer tells that everybody may have it. A repository is
//! public when the upstream lets us read the very thing asked for without them. That is remembered for a day, on disk,
//! so that a restart and an outage change nothing; that it is not, for minutes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, StatusCode, header};
use tidepool_config::{AnonymousPull, Scope};
use tidepool_oci::{Reference, Target};
use tokio::time::Instant;

use super::{ANSWER_WITHIN, PullError, Puller, Source, manifests::ACCEPT};
use crate::{
    metrics::Class,
    store::PublicRecord,
    tasks::lock,
    upstream::{Ask, UpstreamError},
};

/// How long a public repository is taken to be one without asking again, in seconds.
const PUBLIC_FOR: u64 = 24 * 3600;
/// How long one that is closed to strangers is taken to be closed.
const CLOSED_FOR: Duration = Duration::from_secs(300);
/// How long what strangers find nothing under is taken to be nothing: it may be pushed at any time.
const MISSING_FOR: Duration = Duration::from_secs(3);
/// Patience with a question whose last answer is known.
const AGAIN_WITHIN: Duration = Duration::from_millis(1500);
/// Answers kept in memory of each kind; beyond it they are forgotten, which costs a question each.
const MOST: usize = 10_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A node's agent, known by its certificate.
    Node,
    /// A user of the list, logged in.
    User,
    /// A client without a login.
    Anonymous(AnonymousPull),
}

/// What is known of repositories of upstreams with credentials.
#[derive(Debug, Default)]
pub(super) struct Known {
    public: Mutex<HashMap<String, PublicRecord>>,
    /// By repository, or by path where only that was not found.
    closed: Mutex<HashMap<String, Instant>>,
}

/// What one question to the upstream is about: repository and path.
pub(super) type ProbeKey = (String, String);

impl Puller {
    /// Whether `audience` may read that; to be asked before anything is served, also from the store.
    pub(crate) async fn may_read(
        self: &Arc<Self>,
        source: &Source,
        target: &Target,
        audience: Audience,
    ) -> Result<(), PullError> {
        let as_stranger = match (audience, source.upstream.scope()) {
            (Audience::Anonymous(AnonymousPull::None), _) => return Err(PullError::NotForYou),
            (_, None) | (Audience::User | Audience::Anonymous(AnonymousPull::All), _) => false,
            (Audience::Node, Some(Scope::AllImages)) => false,
            (Audience::Node | Audience::Anonymous(AnonymousPull::PublicImages), Some(_)) => true,
        };
        if as_stranger {
            self.public(source, target).await?;
        }
        match target {
            Target::Manifest(Reference::Digest(digest)) | Target::Blob(digest) => {
                self.is_part(source, digest, &path_of(target), as_stranger).await
            }
            Target::Manifest(Reference::Tag(_)) | Target::Tags | Target::Referrers(_) => Ok(()),
        }
    }

    /// Whether everybody may read the repository, by what is known or by asking.
    async fn public(self: &Arc<Self>, source: &Source, target: &Target) -> Result<(), PullError> {
        let known = self.known_public(source).await;
        let now = seconds_now();
        if known.as_ref().is_some_and(|record| record.seen <= now && now - record.seen < PUBLIC_FOR) {
            return Ok(());
        }
        let path = path_of(target);
        if self.known.is_closed(&name(source), &path) {
            return Err(PullError::NotForYou);
        }
        let expired = known.is_some();
        if expired && source.upstream.breaker().is_strained() {
            return Ok(());
        }
        let (puller, owned, key) = (Arc::clone(self), source.clone(), (name(source), path.clone()));
        let work = || async move { puller.probe(&owned, &path).await };
        let asking = self.probes.join(key, work);
        let within = if expired { AGAIN_WITHIN } else { ANSWER_WITHIN };
        match tokio::time::timeout(within, asking).await.ok().flatten() {
            Some(Err(error)) if expired && !error.is_absence() => Ok(()),
            Some(answer) => answer,
            None if expired => Ok(()),
            None => Err(PullError::Late),
        }
    }

    async fn known_public(self: &Arc<Self>, source: &Source) -> Option<PublicRecord> {
        let key = name(source);
        let held = lock(&self.known.public).get(&key).cloned();
        let record = match held {
            Some(record) => Some(record),
            None => {
                let stored = self.store.public(source.upstream.name(), &source.repository).await;
                if let Some(record) = &stored {
                    self.known.note_public(key, record.clone());
                }
                stored
            }
        };
        record.filter(|record| record.at == *source.upstream.base())
    }

    /// Asks the upstream as a stranger.
    async fn probe(self: Arc<Self>, source: &Source, path: &str) -> Result<(), PullError> {
        let error = match ask_as_stranger(source, path).await {
            Ok(()) => {
                let record = PublicRecord { at: source.upstream.base().clone(), seen: seconds_now() };
                self.known.note_public(name(source), record.clone());
                let put = self.store.put_public(source.upstream.name(), &source.repository, record).await;
                if let Err(error) = put {
                    self.not_kept(&error, "that a repository is public");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        match error {
            UpstreamError::Refused(_) => self.close(source).await,
            UpstreamError::Gone(_) => self.known.note_closed(path_key(&name(source), path), MISSING_FOR),
            other => return Err(other.into()),
        }
        Err(PullError::NotForYou)
    }

    async fn close(&self, source: &Source) {
        self.known.note_closed(name(source), CLOSED_FOR);
        lock(&self.known.public).remove(&name(source));
        if let Err(error) = self.store.forget_public(source.upstream.name(), &source.repository).await {
            self.not_kept(&error, "that a repository is closed");
        }
    }

    /// Whether credentials were needed for it, as far as is known: then the upstream's refusal is a revocation.
    pub(super) async fn needs_credentials(self: &Arc<Self>, source: &Source) -> bool {
        source.upstream.scope().is_some() && self.known_public(source).await.is_none()
    }
}

async fn ask_as_stranger(source: &Source, path: &str) -> Result<(), UpstreamError> {
    let until = Instant::now() + ANSWER_WITHIN;
    let ask = |method| {
        let mut ask = Ask::new(method, &source.repository, path, Class::Other, ANSWER_WITHIN);
        ask.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        (ask.until, ask.anonymously) = (until, true);
        ask
    };
    let list = path.starts_with("tags/"); // registries answer HEAD for content only
    let answer = source.upstream.send(&ask(if list { Method::GET } else { Method::HEAD })).await;
    match answer {
        Err(UpstreamError::Failing(StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST)) => {
            source.upstream.send(&ask(Method::GET)).await.map(drop)
        }
        other => other.map(drop),
    }
}

impl Known {
    fn is_closed(&self, name: &str, path: &str) -> bool {
        let (closed, now) = (lock(&self.closed), Instant::now());
        [name, &path_key(name, path)].iter().any(|key| closed.get(*key).is_some_and(|until| now < *until))
    }

    fn note_closed(&self, key: String, how_long: Duration) {
        let (mut closed, now) = (lock(&self.closed), Instant::now());
        if closed.len() >= MOST {
            closed.retain(|_, until| now < *until);
        }
        if closed.len() < MOST {
            closed.insert(key, now + how_long);
        }
    }

    fn note_public(&self, key: String, record: PublicRecord) {
        let mut public = lock(&self.public);
        if public.len() >= MOST {
            public.clear();
        }
        public.insert(key, record);
    }
}

/// A space can be in neither name.
pub(super) fn name(source: &Source) -> String {
    format!("{} {}", source.upstream.name(), source.repository)
}

fn path_key(name: &str, path: &str) -> String {
    format!("{name} {path}")
}

/// Below the repository: what shows whether a stranger may read `target`.
fn path_of(target: &Target) -> String {
    match target {
        Target::Manifest(reference) => format!("manifests/{reference}"),
        Target::Blob(digest) => format!("blobs/{digest}"),
        Target::Tags => "tags/list?n=1".to_owned(),
        Target::Referrers(digest) => format!("manifests/{digest}"),
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
