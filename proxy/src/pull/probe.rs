//! Questions to the upstream whether something may be read, and what is remembered of the answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, header};
use tidepool_oci::RepositoryName;
use tokio::time::Instant;

use super::{ANSWER_WITHIN, PullError, Puller, Source, UpstreamId, manifests::ACCEPT, permit::Reader};
use crate::{metrics::Class, store::PublicRecord, tasks::lock, upstream::UpstreamError};

/// How long a public repository is taken to be one without asking again, in seconds.
const PUBLIC_FOR: u64 = 24 * 3600;
/// How long one that is closed to strangers is taken to be closed.
const CLOSED_FOR: Duration = Duration::from_secs(300);
/// How long what strangers find nothing under is taken to be nothing: it may be pushed at any time.
const MISSING_FOR: Duration = Duration::from_secs(3);
/// Answers kept in memory of each kind; beyond it they are forgotten, which costs a question each.
const MOST: usize = 10_000;
/// The shortest list there is.
pub(super) const LIST: &str = "tags/list?n=1";

/// What is known of repositories of upstreams with credentials.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By repository, or by path where only that was not found.
    closed: Mutex<HashMap<String, Instant>>,
}

/// What the upstream is asked: whether somebody reads `path` of a repository.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) reader: Reader,
    pub(super) path: String,
    /// Asked for, one after the other, where there is no such thing: any of them will do.
    pub(super) witnesses: Vec<String>,
}

/// Upstream, repository, path, and as whom: those who ask the same at the same time share one question.
pub(super) type ProbeKey = (UpstreamId, RepositoryName, String, Reader);

impl Puller {
    /// Whether the upstream says yes, which is asked once for all who want to know.
    pub(super) async fn ask_once(self: &Arc<Self>, source: &Source, question: Question) -> Result<(), PullError> {
        let (puller, owned) = (Arc::clone(self), source.clone());
        let key = (source.upstream_id(), source.repository.clone(), question.path.clone(), question.reader);
        let work = || async move { puller.probe(&owned, &question).await };
        self.probes.join(key, work).await.unwrap_or(Err(PullError::Stopped))
    }

    async fn probe(self: Arc<Self>, source: &Source, question: &Question) -> Result<(), PullError> {
        let mut answer = ask(source, &question.path, question.reader).await;
        for witness in &question.witnesses {
            if !matches!(answer, Err(UpstreamError::Gone(_))) || *witness == question.path {
                break;
            }
            match ask(source, witness, question.reader).await {
                // Some let everybody pull and nobody list.
                Err(UpstreamError::Refused(_)) if witness == LIST => {}
                other => answer = other,
            }
        }
        match (answer, question.reader) {
            (Ok(()), Reader::Us) => Ok(()),
            (Ok(()), Reader::Anybody) => {
                self.note_public(source).await;
                Ok(())
            }
            (Err(error), Reader::Us) => Err(self.noting_absence(source, &question.path, error)),
            (Err(error), Reader::Anybody) if error.is_refusal() => {
                self.note_refusal(source, &question.path).await;
                Err(PullError::NotForYou)
            }
            (Err(UpstreamError::Gone(_)), Reader::Anybody) => {
                self.known.note_closed(path_key(&name(source), &question.path), MISSING_FOR);
                Err(PullError::NotForYou)
            }
            (Err(error), Reader::Anybody) => Err(error.into()),
        }
    }

    async fn note_public(&self, source: &Source) {
        let record = PublicRecord { at: source.upstream.base().clone(), seen: seconds_now() };
        if let Err(error) = self.store.put_public(source.upstream.name(), &source.repository, record).await {
            self.not_kept(&error, "that a repository is public");
        }
    }

    /// Of a repository that was open today only the part is closed.
    async fn note_refusal(&self, source: &Source, path: &str) {
        let name = name(source);
        if self.known_public(source).await.as_ref().is_some_and(is_fresh) {
            self.known.note_closed(path_key(&name, path), CLOSED_FOR);
            return;
        }
        self.known.note_closed(name, CLOSED_FOR);
        if let Err(error) = self.store.forget_public(source.upstream.name(), &source.repository).await {
            self.not_kept(&error, "that a repository is closed");
        }
    }

    pub(super) async fn known_public(&self, source: &Source) -> Option<PublicRecord> {
        let record = self.store.public(source.upstream.name(), &source.repository).await;
        record.filter(|record| record.at == *source.upstream.base())
    }
}

/// Whether a record is young enough to be believed without asking.
pub(super) fn is_fresh(record: &PublicRecord) -> bool {
    let now = seconds_now();
    record.seen <= now && now - record.seen < PUBLIC_FOR
}

async fn ask(source: &Source, path: &str, reader: Reader) -> Result<(), UpstreamError> {
    let until = Instant::now() + ANSWER_WITHIN;
    let ask = |method| {
        let mut ask = source.ask(method, path, Class::Other, ANSWER_WITHIN);
        ask.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        (ask.until, ask.anonymously) = (until, reader == Reader::Anybody);
        ask
    };
    let list = path.starts_with("tags/"); // registries answer HEAD for content only
    let answer = source.upstream.send(&ask(if list { Method::GET } else { Method::HEAD })).await;
    match answer {
        Err(error) if error.is_of_head() && !list => source.upstream.send(&ask(Method::GET)).await.map(drop),
        other => other.map(drop),
    }
}

impl Known {
    pub(super) fn is_closed(&self, name: &str, path: &str) -> bool {
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
}

/// Registry, repository, and where the registry is reached: another one may keep the same name for itself. A space can be
/// in none of the three.
pub(super) fn name(source: &Source) -> String {
    format!("{} {} {}", source.upstream.name(), source.repository, source.upstream.base())
}

fn path_key(name: &str, path: &str) -> String {
    format!("{name} {path}")
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
