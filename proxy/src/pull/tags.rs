//! Manifests by tag: after one HEAD that all who wait share, or as the configuration says without one; what is kept when
//! the upstream fails (P8).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Method;
use tidepool_config::{Tags, UpstreamGone};
use tidepool_oci::{Digest, Reference, RepositoryName, Target};
use tokio::time::Instant;

use super::{
    Found, Permit, PullError, Puller, Served, Source, UpstreamId, documents::children, manifest_path, manifests,
    permit::Reader,
};
use crate::{
    metrics::RequestResult,
    store::{Manifest, TagRecord},
};

/// Patience with the check of a tag that is kept, and with what it leads to: a slow upstream's answer reaches the next pull,
/// and a lost one does not keep pulls from asking again.
const CHECK_WITHIN: Duration = Duration::from_secs(4);
/// How stale the record of a tag's last check may get before it is written again though nothing changed.
const RECORD_EVERY: u64 = 60;

/// What one tag check is about.
pub(super) type TagKey = (UpstreamId, RepositoryName, Box<str>);

/// What a tag pointed to.
struct Held {
    manifest: Arc<Manifest>,
    /// Whether that is taken for what it points to now.
    believed: bool,
}

impl Puller {
    /// What the tag points to now; what it pointed to when the upstream cannot or will not say.
    pub(crate) async fn tagged(self: &Arc<Self>, source: &Source, tag: &str, method: &Method, permit: Permit) -> Found {
        let deadline = permit.deadline;
        let Some(Held { manifest: held, believed }) = self.held(source, tag).await else {
            if self.absent.knows(source, &manifest_path(tag)) {
                return Err(PullError::KnownAbsent);
            }
            permit.may_fetch()?;
            return deadline.wait(self.checked(source, tag, deadline.of_question())).await?;
        };
        // A node that has the image asks for no more than the digest; one that has not would look for a child next.
        let leads_on = *method != Method::GET || !believed || self.has_child(&held).await;
        let believed = believed && permit.confirmed && leads_on;
        if !believed
            && permit.confirmed
            && let Some(fresh) = Box::pin(self.confirmed(source, tag, &held, permit)).await?
        {
            return Ok(fresh);
        }
        // Nobody but the store says now that it is in this repository.
        let named = Target::Manifest(Reference::Digest(held.digest.clone()));
        self.is_part(source, &held.digest, &named, permit).await?;
        if believed {
            return Ok(Served { what: held, how: RequestResult::Hit });
        }
        if *method == Method::GET && !self.has_child(&held).await {
            return Err(PullError::Childless);
        }
        Ok(Served { what: held, how: RequestResult::Stale })
    }

    /// What the upstream says that a tag points to which is kept; none where it cannot or will not say, and what is kept
    /// will do.
    async fn confirmed(
        self: &Arc<Self>,
        source: &Source,
        tag: &str,
        held: &Manifest,
        permit: Permit,
    ) -> Result<Option<Served<Arc<Manifest>>>, PullError> {
        let breaker = source.upstream.breaker();
        let Some(_leave) = breaker.may_check() else { return Ok(None) };
        let begun = Instant::now();
        let check = self.checked(source, tag, begun + CHECK_WITHIN);
        match tokio::time::timeout_at(permit.deadline.kept, check).await {
            Ok(Ok(fresh)) => return Ok(Some(fresh)),
            Ok(Err(PullError::Stopped)) => return Err(PullError::Stopped),
            Ok(Err(error)) if self.is_revoked(source, &held.digest, &error).await => {
                return Err(if permit.reader == Reader::Us { error } else { PullError::NotForYou });
            }
            Ok(Err(error)) if self.holds(source, tag, &error) => return Err(error),
            Ok(Err(error)) => {
                if error.is_useless() {
                    breaker.overdue();
                }
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(registry = %source.upstream.name(), repository = %source.repository, tag, error = cause, "serving a tag unconfirmed");
            }
            // The check goes on and, if it comes to an end, the next pull sees its result.
            Err(_) if permit.deadline.was_fair(begun) => breaker.overdue(),
            Err(_) => {}
        }
        Ok(None)
    }

    /// Whether the upstream's answer is that the tag is gone, and the configuration has that hold.
    fn holds(&self, source: &Source, tag: &str, error: &PullError) -> bool {
        let refuses = source.upstream.tags().upstream_gone == UpstreamGone::Refuse;
        // What the tag leads to may be missing for a moment, too.
        refuses && error.is_absence() && self.absent.knows(source, &manifest_path(tag))
    }

    /// Whether something can be made of a manifest that the upstream does not confirm: of an index, one of its children
    /// is here. Nobody knows which platform is wanted, but what nodes run they pulled before.
    async fn has_child(&self, held: &Manifest) -> bool {
        let children = children(held);
        children.is_empty() || self.store.has_any_manifest(&children).await
    }

    /// What the tag pointed to, unless that is too long ago.
    async fn held(&self, source: &Source, tag: &str) -> Option<Held> {
        let record = self.store.tag(source.upstream.name(), &source.repository, tag).await?;
        let (tags, now) = (source.upstream.tags(), seconds_now());
        let believed = is_believed(tags, tag, record.checked, now);
        if !believed && is_too_old(tags, record.checked, now) {
            return None;
        }
        let manifest = self.store.manifest(&record.digest).await?;
        Some(Held { manifest, believed })
    }

    /// Asks the upstream what the tag points to, together with all who ask at the same time.
    async fn checked(self: &Arc<Self>, source: &Source, tag: &str, until: Instant) -> Found {
        let key: TagKey = (source.upstream_id(), source.repository.clone(), tag.into());
        let (puller, owned, tag) = (Arc::clone(self), source.clone(), Box::<str>::from(tag));
        let check = || async move {
            let found = puller.check(&owned, &tag, until).await;
            if found.as_ref().is_err_and(|error| puller.holds(&owned, &tag, error)) {
                puller.forget(&owned, &tag).await;
            }
            found
        };
        self.tags.join(key, check).await.unwrap_or(Err(PullError::Stopped))
    }

    async fn check(self: &Arc<Self>, source: &Source, tag: &str, until: Instant) -> Found {
        let named = self.head(source, tag, until).await?;
        let held = match &named {
            Some(digest) if self.believes(source, digest).await => self.store.manifest(digest).await,
            _ => None,
        };
        let served = match held {
            Some(what) => Served { what, how: RequestResult::Hit },
            None => {
                // However long the HEAD took: what it led to is worth a try.
                let until = until.max(Instant::now() + CHECK_WITHIN);
                let reference = named.as_ref().map_or_else(|| tag.to_owned(), Digest::to_string);
                let what = self.fetch(source, &reference, named.as_ref(), until).await?;
                Served { what, how: RequestResult::Fill }
            }
        };
        self.record(source, tag, &served.what.digest).await;
        Ok(served)
    }

    /// The digest a tag points to, by HEAD, which Docker Hub does not count; `None` where only a GET can tell.
    async fn head(&self, source: &Source, tag: &str, until: Instant) -> Result<Option<Digest>, PullError> {
        let path = manifest_path(tag);
        let ask = manifests::ask(Method::HEAD, source, &path, until);
        match source.upstream.send(&ask).await {
            Ok(answer) => Ok(manifests::digest_header(answer.headers())),
            Err(error) if error.is_of_head() => Ok(None),
            Err(error) => Err(self.noting_absence(source, &path, error)),
        }
    }

    async fn record(self: &Arc<Self>, source: &Source, tag: &str, digest: &Digest) {
        let (registry, repository) = (source.upstream.name(), &source.repository);
        let checked = seconds_now();
        let held = self.store.tag(registry, repository, tag).await;
        let closed = self.needs_credentials(source).await;
        let since = record_every(source.upstream.tags());
        let same = |held: TagRecord| held.digest == *digest && held.closed == closed;
        let known = held.is_some_and(|held| (held.checked..held.checked + since).contains(&checked) && same(held));
        if !known {
            let record = TagRecord { digest: digest.clone(), checked, closed };
            if let Err(error) = self.store.put_tag(registry, repository, tag, record).await {
                self.not_kept(&error, "tag");
            }
        }
    }

    /// Forgets a tag that is gone upstream, for nobody is to have it in an outage either.
    async fn forget(&self, source: &Source, tag: &str) {
        if let Err(error) = self.store.forget_tag(source.upstream.name(), &source.repository, tag).await {
            self.not_kept(&error, "that a tag is gone");
        }
    }
}

/// Whether a tag that was checked then needs no check now. A check that is yet to come tells of a clock that went back,
/// and nothing of the tag.
fn is_believed(tags: &Tags, tag: &str, checked: u64, now: u64) -> bool {
    let lately = now.checked_sub(checked).is_some_and(|age| age < tags.revalidate_after.0.as_secs());
    lately || tags.is_immutable(tag)
}

/// Whether a tag that was checked then is not served any more without another check.
fn is_too_old(tags: &Tags, checked: u64, now: u64) -> bool {
    tags.serve_stale_for.is_some_and(|longest| now.saturating_sub(checked) >= longest.0.as_secs())
}

/// How stale a record may get: no more than a part of what it decides.
fn record_every(tags: &Tags) -> u64 {
    let stale = tags.serve_stale_for.map_or(RECORD_EVERY, |longest| longest.0.as_secs() / 10);
    let again = tags.revalidate_after.0.as_secs();
    RECORD_EVERY.min(stale).min(if again == 0 { RECORD_EVERY } else { again })
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
