//! Manifests: by digest from the store or by one GET; by tag after one HEAD that all who wait share (P8, P9).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use tidepool_oci::{Algorithm, Digest, Reference, RepositoryName, Target};
use tokio::time::Instant;

use super::{
    ANSWER_WITHIN, Found, Permit, PullError, Puller, Served, Source, UpstreamId, manifest_path, permit::Reader,
};
use crate::{
    hash::Hasher,
    metrics::{Class, RequestResult},
    store::{Manifest, TagRecord},
    upstream::{Ask, UpstreamError, read_limited},
};

/// Patience with the check of a tag that is kept: a slow upstream's answer reaches the next pull, and a lost one does not keep
/// pulls from asking again.
const CHECK_HELD_WITHIN: Duration = Duration::from_secs(4);
/// The largest manifest clients take.
const LARGEST_MANIFEST: usize = 4 << 20;
/// How stale the record of a tag's last check may get before it is written again though nothing changed.
const RECORD_EVERY: u64 = 60;
/// Every kind of manifest: a registry must give the one there is, not one it thinks we can read.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, application/vnd.docker.distribution.manifest.v1+prettyjws, \
    application/json, */*";
/// Name of the header with a manifest's digest.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";

/// What one tag check is about.
pub(super) type TagKey = (UpstreamId, RepositoryName, Box<str>);

impl Puller {
    /// The manifest of that digest.
    pub(crate) async fn manifest(self: &Arc<Self>, source: &Source, digest: &Digest, permit: Permit) -> Found {
        if let Some(what) = self.store.manifest(digest).await {
            return Ok(Served { what, how: RequestResult::Hit });
        }
        // Boxed, for most requests end above and their futures should be small.
        Box::pin(self.fetched_manifest(source, digest, permit)).await
    }

    async fn fetched_manifest(self: &Arc<Self>, source: &Source, digest: &Digest, permit: Permit) -> Found {
        if self.absent.knows(source, &manifest_path(digest)) {
            return Err(PullError::KnownAbsent);
        }
        permit.may_fetch()?;
        let key = (source.upstream_id(), source.repository.clone(), digest.clone());
        let (puller, owned, digest) = (Arc::clone(self), source.clone(), digest.clone());
        let until = permit.deadline.of_question();
        let work = || async move {
            let what = puller.fetch(&owned, &digest.to_string(), Some(&digest), until).await?;
            Ok(Served { what, how: RequestResult::Fill })
        };
        permit.deadline.wait(self.manifests.join(key, work)).await?.unwrap_or(Err(PullError::Stopped))
    }

    /// What the tag points to now; what it pointed to when the upstream cannot or will not say.
    pub(crate) async fn tagged(self: &Arc<Self>, source: &Source, tag: &str, method: &Method, permit: Permit) -> Found {
        let deadline = permit.deadline;
        let Some(held) = self.held(source, tag).await else {
            if self.absent.knows(source, &manifest_path(tag)) {
                return Err(PullError::KnownAbsent);
            }
            permit.may_fetch()?;
            return deadline.wait(self.checked(source, tag, deadline.of_question())).await?;
        };
        if permit.confirmed
            && let Some(_leave) = source.upstream.breaker().may_check()
        {
            let check = self.checked(source, tag, Instant::now() + CHECK_HELD_WITHIN);
            match tokio::time::timeout_at(deadline.kept, check).await {
                Ok(Ok(fresh)) => return Ok(fresh),
                Ok(Err(PullError::Stopped)) => return Err(PullError::Stopped),
                Ok(Err(error)) if self.is_revoked(source, &held.digest, &error).await => {
                    return Err(if permit.reader == Reader::Us { error } else { PullError::NotForYou });
                }
                Ok(Err(error)) => {
                    if error.is_useless() {
                        source.upstream.breaker().overdue();
                    }
                    let cause = &error as &dyn std::error::Error;
                    tracing::warn!(registry = %source.upstream.name(), repository = %source.repository, tag, error = cause, "serving a tag unconfirmed");
                }
                // The check goes on and, if it comes to an end, the next pull sees its result.
                Err(_) => source.upstream.breaker().overdue(),
            }
        }
        // Nobody but the store says now that it is in this repository.
        let named = Target::Manifest(Reference::Digest(held.digest.clone()));
        self.is_part(source, &held.digest, &named, permit).await?;
        // A node that has the image asks for no more than the digest; one that has not would look for a child next.
        if *method == Method::GET && !self.has_child(&held).await {
            return Err(PullError::Childless);
        }
        Ok(Served { what: held, how: RequestResult::Stale })
    }

    /// Whether something can be made of a manifest that the upstream does not confirm: of an index, one of its children
    /// is here. Nobody knows which platform is wanted, but what nodes run they pulled before.
    async fn has_child(&self, held: &Manifest) -> bool {
        let children = children(held);
        for child in &children {
            if self.store.manifest(child).await.is_some() {
                return true;
            }
        }
        children.is_empty()
    }

    async fn held(&self, source: &Source, tag: &str) -> Option<Arc<Manifest>> {
        let record = self.store.tag(source.upstream.name(), &source.repository, tag).await?;
        self.store.manifest(&record.digest).await
    }

    /// Asks the upstream what the tag points to, together with all who ask at the same time.
    async fn checked(self: &Arc<Self>, source: &Source, tag: &str, until: Instant) -> Found {
        let key: TagKey = (source.upstream_id(), source.repository.clone(), tag.into());
        let (puller, owned, tag) = (Arc::clone(self), source.clone(), Box::<str>::from(tag));
        let check = || async move { puller.check(&owned, &tag, until).await };
        self.tags.join(key, check).await.unwrap_or(Err(PullError::Stopped))
    }

    async fn check(self: &Arc<Self>, source: &Source, tag: &str, until: Instant) -> Found {
        let named = self.head(source, tag, until).await?;
        let held = match &named {
            Some(digest) => self.store.manifest(digest).await,
            None => None,
        };
        let served = match (held, named) {
            (Some(what), _) => {
                self.note_also(source, &what.digest).await;
                Served { what, how: RequestResult::Hit }
            }
            (None, Some(digest)) => {
                let what = self.fetch(source, &digest.to_string(), Some(&digest), until).await?;
                Served { what, how: RequestResult::Fill }
            }
            (None, None) => {
                let what = self.fetch(source, tag, None, until).await?;
                Served { what, how: RequestResult::Fill }
            }
        };
        self.record(source, tag, &served.what.digest).await;
        Ok(served)
    }

    /// The digest a tag points to, by HEAD, which Docker Hub does not count; `None` where only a GET can tell.
    async fn head(&self, source: &Source, tag: &str, until: Instant) -> Result<Option<Digest>, PullError> {
        let path = manifest_path(tag);
        let ask = ask(Method::HEAD, source, &path, until);
        match source.upstream.send(&ask).await {
            Ok(answer) => Ok(digest_header(answer.headers())),
            Err(error) if error.is_of_head() => Ok(None),
            Err(error) => Err(self.noting_absence(source, &path, error)),
        }
    }

    /// Gets, checks and keeps a manifest.
    async fn fetch(
        self: &Arc<Self>,
        source: &Source,
        reference: &str,
        wanted: Option<&Digest>,
        until: Instant,
    ) -> Result<Arc<Manifest>, PullError> {
        let path = manifest_path(reference);
        let sent = source.upstream.send(&ask(Method::GET, source, &path, until)).await;
        let answer = sent.map_err(|error| self.noting_absence(source, &path, error))?;
        let (named, media_type) = (digest_header(answer.headers()), media_type(answer.headers()));
        let body = tokio::time::timeout_at(until, read_limited(answer, LARGEST_MANIFEST)).await;
        let bytes = body.map_err(|_| UpstreamError::Silent(ANSWER_WITHIN))??;
        source.upstream.count_bytes(bytes.len());
        let algorithm = wanted.or(named.as_ref()).map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        let digest = hasher.finish().map_err(|_| PullError::WrongDigest)?;
        if wanted.or(named.as_ref()).is_some_and(|expected| *expected != digest) {
            return Err(PullError::WrongDigest);
        }
        let media_type = media_type.filter(|media_type| is_manifest(media_type, &bytes)).ok_or_else(|| {
            source.upstream.breaker().overdue();
            PullError::Garbage("no manifest")
        })?;
        let manifest = Arc::new(Manifest { digest, media_type, bytes });
        let origin = self.origin_of(source, &manifest.digest).await;
        if let Err(error) = self.store.put_manifest(&manifest, origin).await {
            self.not_kept(&error, "manifest");
        }
        Ok(manifest)
    }

    async fn record(self: &Arc<Self>, source: &Source, tag: &str, digest: &Digest) {
        let (registry, repository) = (source.upstream.name(), &source.repository);
        let checked = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let held = self.store.tag(registry, repository, tag).await;
        let closed = self.needs_credentials(source).await;
        let same = |held: TagRecord| held.digest == *digest && held.closed == closed;
        let known = held.is_some_and(|held| checked < held.checked + RECORD_EVERY && same(held));
        if !known {
            let record = TagRecord { digest: digest.clone(), checked, closed };
            if let Err(error) = self.store.put_tag(registry, repository, tag, record).await {
                self.not_kept(&error, "tag");
            }
        }
    }

    /// Serving goes on without keeping; a full disk makes room.
    pub(super) fn not_kept(&self, error: &std::io::Error, what: &'static str) {
        tracing::warn!(%error, what, "cannot keep what the upstream sent");
        if error.kind() == std::io::ErrorKind::StorageFull {
            self.store.disk_is_full();
        }
    }

    pub(super) fn noting_absence(&self, source: &Source, path: &str, error: UpstreamError) -> PullError {
        if error.is_absence() {
            self.absent.note(source, path);
        }
        error.into()
    }
}

fn ask<'a>(method: Method, source: &'a Source, path: &'a str, until: Instant) -> Ask<'a> {
    let mut ask = source.ask(method, path, Class::Manifest, ANSWER_WITHIN);
    ask.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
    ask.until = until;
    ask
}

pub(super) fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// The content type without parameters. One that the store's header line could not hold is none.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let plain = value.split(';').next().unwrap_or_default().trim();
    let sound = plain.contains('/') && plain.len() <= 255 && plain.bytes().all(|b| b.is_ascii_graphic());
    sound.then(|| plain.to_owned())
}

/// What a manifest may say of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: Option<String>,
    schema_version: Option<serde::de::IgnoredAny>,
    /// What no manifest has, but every answer of a registry that says no.
    errors: Option<serde::de::IgnoredAny>,
}

/// An index, as far as it leads on.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    digest: Digest,
}

/// The manifests that an index lists; none where it is no index.
fn children(manifest: &Manifest) -> Vec<Digest> {
    let kinds =
        ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
    if !kinds.contains(&manifest.media_type.to_ascii_lowercase().as_str()) {
        return Vec::new();
    }
    let index = serde_json::from_slice::<Index>(&manifest.bytes);
    index.map(|index| index.manifests.into_iter().map(|child| child.digest).collect()).unwrap_or_default()
}

/// Whether this can be a manifest: captive portals and maintenance pages answer everything with 200.
pub(crate) fn is_manifest(media_type: &str, bytes: &[u8]) -> bool {
    let is_object = bytes.trim_ascii_start().starts_with(b"{"); // serde takes an array for a struct too
    let described = serde_json::from_slice::<Described>(bytes).ok().filter(|_| is_object);
    let sound = described.is_some_and(|it| {
        let agrees = it.media_type.is_none_or(|named| named.eq_ignore_ascii_case(media_type));
        agrees && (it.errors.is_none() || it.schema_version.is_some())
    });
    sound && !media_type.to_ascii_lowercase().starts_with("text/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_a_json_object_that_agrees_with_its_content_type() {
        for (media_type, bytes, expected) in [
            ("a/b+json", r#"{"schemaVersion":2}"#, true),
            ("a/b+json", r#" {"mediaType":"a/b+json","layers":[{}]}"#, true),
            ("a/b+json", r#"{"mediaType":"a/c+json"}"#, false),
            ("a/b+json", r#"{"mediaType":"a/b+json"}<"#, false),
            ("a/b+json", r#"["a/b+json"]"#, false),
            ("a/b+json", "<html>", false),
            ("a/b+json", "", false),
            ("text/html", "{}", false),
            ("text/plain", "{}", false),
            ("application/json", r#"{"errors":[{"code":"UNAVAILABLE"}]}"#, false),
            ("application/json", r#"{"schemaVersion":2,"errors":[]}"#, true),
        ] {
            assert_eq!(is_manifest(media_type, bytes.as_bytes()), expected, "{media_type} {bytes}");
        }
    }
}
