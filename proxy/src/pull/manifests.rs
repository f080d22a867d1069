//! Manifests by digest: from the store, or by one GET that all who wait share (P9).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use tidepool_oci::{Algorithm, Digest};
use tokio::time::Instant;

use super::{ANSWER_WITHIN, Found, Permit, PullError, Puller, Served, Source, documents::is_manifest, manifest_path};
use crate::{
    hash::Hasher,
    metrics::{Class, RequestResult},
    store::Manifest,
    upstream::{Ask, UpstreamError, read_limited},
};

/// The largest manifest clients take.
const LARGEST_MANIFEST: usize = 4 << 20;
/// Every kind of manifest: a registry must give the one there is, not one it thinks we can read.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, application/vnd.docker.distribution.manifest.v1+prettyjws, \
    application/json, */*";
/// Name of the header with a manifest's digest.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";

impl Puller {
    /// The manifest of that digest.
    pub(crate) async fn manifest(self: &Arc<Self>, source: &Source, digest: &Digest, permit: Permit) -> Found {
        if let Some(what) = self.store.manifest(digest).await {
            return Ok(Served { what, how: RequestResult::Hit });
        }
        // Boxed, for most requests end above and their futures should be small.
        Box::pin(self.fetched_manifest(source, digest, permit)).await
    }

    /// As `manifest`, where it comes from the upstream whether or not it is kept.
    pub(super) async fn fetched_manifest(self: &Arc<Self>, source: &Source, digest: &Digest, permit: Permit) -> Found {
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

    /// Gets, checks and keeps a manifest.
    pub(super) async fn fetch(
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

pub(super) fn ask<'a>(method: Method, source: &'a Source, path: &'a str, until: Instant) -> Ask<'a> {
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
