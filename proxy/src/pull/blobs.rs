//! Blobs: from the store, or by following the one fill that is under way (P6).

use std::{collections::hash_map::Entry, sync::Arc};

use http::{HeaderMap, Method, header};
use tidepool_oci::{ByteRanges, Digest, Target, Unsatisfiable};
use tokio::time::Instant;

use super::{
    ANSWER_WITHIN, Part, Permit, PullError, Puller, Served, Shape, Source, blob_path,
    fill::{Fill, Interest, Opened},
    manifests::{digest_header, media_type},
};
use crate::{
    hash::is_content_of,
    metrics::{Class, RequestResult},
    store::{Kept, StoredBlob},
    tasks::lock,
    upstream::UpstreamError,
};

/// How often a request starts over when the fill it followed, of another repository, came to nothing.
const MOST_STARTS: usize = 3;

/// A blob of up to this size is hashed in less time than a client waits for its first byte; and if it is damaged, it can
/// still be filled in the same request.
const HASHED_FIRST: u64 = 256 << 20;

/// A blob that can be read now or soon.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(super) digest: Digest,
    pub(super) source: Source,
    /// How many bytes it has.
    pub(crate) size: u64,
    pub(super) bytes: Bytes,
    /// By whose leave, and when its first byte must be on the way.
    pub(super) permit: Permit,
}

/// Where a blob's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    /// In the store.
    Kept(StoredBlob),
    /// On their way into it.
    Filling(Arc<Fill>, Opened),
    /// With the upstream only: the disk is full.
    Upstream,
}

impl Blob {
    /// The part of it that a request's ranges ask for. Past a full disk each range would be a transfer of its own: several
    /// are answered with the whole, which is legal.
    pub(crate) fn part(&self, ranges: Option<&ByteRanges>) -> Result<Part, Unsatisfiable> {
        let part = Part::of(ranges, self.size)?;
        let passed = matches!((&self.bytes, &part.shape), (Bytes::Upstream, Shape::Several(_)));
        Ok(if passed { Part::WHOLE } else { part })
    }
}

impl Puller {
    /// Finds a blob in the store, or a fill of it, starting one if there is none.
    pub(crate) async fn blob(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        permit: Permit,
    ) -> Result<Served<Blob>, PullError> {
        let until = permit.deadline.until;
        let found = |size, bytes, how| {
            let what = Blob { digest: digest.clone(), source: source.clone(), size, bytes, permit };
            Served { what, how }
        };
        for _ in 0..MOST_STARTS {
            let kept = permit.deadline.wait(self.ready(digest, permit)).await?;
            if let Some(Kept::Ready(kept)) = kept {
                // It may have come since we were let in, to a repository that is closed.
                self.is_part(source, digest, &Target::Blob(digest.clone()), permit).await?;
                return Ok(found(kept.size, Bytes::Kept(kept), RequestResult::Hit));
            }
            if kept.is_none() && self.absent.knows(source, &blob_path(digest)) {
                return Err(PullError::KnownAbsent);
            }
            permit.may_fetch()?;
            if self.is_too_large(digest) {
                let size = self.size(source, digest, permit).await?;
                return Ok(found(size, Bytes::Upstream, RequestResult::Passed));
            }
            let (fill, interest, how) = self.fill(source, digest, until).await?;
            match fill.opened(interest, until).await {
                Ok(opened) => {
                    self.followed(&fill, source, permit).await?;
                    let size = opened.size;
                    return Ok(found(size, Bytes::Filling(fill, opened), how));
                }
                Err(PullError::NoSpace | PullError::NoRoom) => {
                    let size = self.size(source, digest, permit).await?;
                    return Ok(found(size, Bytes::Upstream, RequestResult::Passed));
                }
                // It was asked of a repository that may lack what ours has.
                Err(_) if !fill.source.is(source) && Instant::now() < until => {}
                Err(error) => return Err(error),
            }
        }
        Err(PullError::Late)
    }

    /// Whether the store cannot hold it, as far as its size is known: it would be asked for in vain.
    fn is_too_large(&self, digest: &Digest) -> bool {
        self.too_large.get(digest).is_some_and(|size| !self.store.could_hold(size, 0))
    }

    /// The blob as it is kept. One without checksums is hashed first, unless it is so large that its readers had better
    /// follow that, as a fill.
    async fn ready(self: &Arc<Self>, digest: &Digest, permit: Permit) -> Option<Kept> {
        match self.store.kept(digest).await? {
            Kept::Unchecked(found) if found.size <= HASHED_FIRST || permit.may_fetch().is_err() => {
                self.store.blob(digest).await.map(Kept::Ready)
            }
            kept => Some(kept),
        }
    }

    /// Where a kept blob's bytes are from now on, once it was found damaged: evicted, and filled again.
    pub(super) async fn again(self: &Arc<Self>, blob: &Blob, until: Instant) -> Result<Bytes, PullError> {
        if let Bytes::Kept(damaged) = &blob.bytes {
            self.store.evict_damaged(&blob.digest, damaged).await;
        }
        blob.permit.may_fetch()?;
        let (fill, interest, _) = self.fill(&blob.source, &blob.digest, until).await?;
        let opened = match fill.opened(interest, until).await {
            Err(PullError::NoSpace | PullError::NoRoom) => return Ok(Bytes::Upstream),
            opened => opened?,
        };
        self.followed(&fill, &blob.source, blob.permit).await?;
        if opened.size == blob.size {
            Ok(Bytes::Filling(fill, opened))
        } else {
            Err(PullError::Garbage("another size than we kept"))
        }
    }

    /// A blob's size, for HEAD: only of one that can be served (P3).
    pub(crate) async fn blob_size(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        permit: Permit,
    ) -> Result<Served<u64>, PullError> {
        // A large one without checksums is hashed beyond that, for who asks next.
        if let Some(kept) = permit.deadline.wait(self.store.blob(digest)).await? {
            self.is_part(source, digest, &Target::Blob(digest.clone()), permit).await?; // it may have come since
            return Ok(Served { what: kept.size, how: RequestResult::Hit });
        }
        if self.absent.knows(source, &blob_path(digest)) {
            return Err(PullError::KnownAbsent);
        }
        permit.may_fetch()?;
        let left = permit.deadline.until.saturating_duration_since(Instant::now());
        let filling = lock(&self.fills).get(digest).cloned();
        if let Some(fill) = filling
            && let Some(interest) = fill.join()
            && let Ok(opened) = fill.opened(interest, Instant::now() + left / 2).await
        {
            self.followed(&fill, source, permit).await?;
            return Ok(Served { what: opened.size, how: RequestResult::Joined });
        }
        // No fill, or one that came to nothing or cannot tell: in the other half of the time the upstream may.
        let what = self.size(source, digest, permit).await?;
        Ok(Served { what, how: RequestResult::Passed })
    }

    /// Whether a fill may be followed for our repository, when it is not this that the upstream gave it for: it was not
    /// there when we were let in.
    async fn followed(self: &Arc<Self>, fill: &Fill, source: &Source, permit: Permit) -> Result<(), PullError> {
        if fill.is_proven_for(source) {
            return Ok(());
        }
        let Some(origins) = self.store.origins(&fill.digest).await.or_else(|| fill.origins()) else { return Ok(()) };
        let target = Target::Blob(fill.digest.clone());
        Box::pin(self.is_noted_part(source, &fill.digest, &target, permit, origins)).await
    }

    /// The fill of a blob that is under way, or a new one.
    async fn fill(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        until: Instant,
    ) -> Result<(Arc<Fill>, Interest, RequestResult), PullError> {
        for _ in 0..MOST_STARTS {
            let (fill, how) = self.start_fill(source, digest);
            match fill.join() {
                Some(interest) => return Ok((fill, interest, how)),
                None => fill.ended(until).await, // it stopped, for nobody read it
            }
        }
        Err(PullError::Late)
    }

    fn start_fill(self: &Arc<Self>, source: &Source, digest: &Digest) -> (Arc<Fill>, RequestResult) {
        match lock(&self.fills).entry(digest.clone()) {
            Entry::Occupied(running) => (Arc::clone(running.get()), RequestResult::Joined),
            Entry::Vacant(free) => {
                let fill = Arc::clone(free.insert(Fill::new(digest.clone(), source.clone())));
                self.tasks.spawn(Arc::clone(self).run_fill(Arc::clone(&fill)));
                (fill, RequestResult::Fill)
            }
        }
    }

    /// Asks the upstream how large a blob is; fills it where only that tells.
    async fn size(self: &Arc<Self>, source: &Source, digest: &Digest, permit: Permit) -> Result<u64, PullError> {
        let path = blob_path(digest);
        let mut ask = source.ask(Method::HEAD, &path, Class::Blob, ANSWER_WITHIN);
        ask.until = permit.deadline.of_question();
        match permit.deadline.wait(source.upstream.send(&ask)).await? {
            // Not `content_length()`, which is that of the body: none.
            Ok(answer) if !is_of_blob(answer.headers(), digest) => Err(PullError::Garbage("no blob")),
            Ok(answer) => match content_length(answer.headers()) {
                // Some servers say 0 where they do not know.
                Some(size) if size > 0 || is_content_of(digest, &[]) => Ok(size),
                _ => self.size_by_fill(source, digest, permit).await,
            },
            Err(UpstreamError::Failing(status) | UpstreamError::ElsewhereFailing(status))
                if status.is_client_error() =>
            {
                self.size_by_fill(source, digest, permit).await
            }
            Err(error) => Err(self.noting_absence(source, &path, error)),
        }
    }

    async fn size_by_fill(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        permit: Permit,
    ) -> Result<u64, PullError> {
        let until = permit.deadline.until;
        let (fill, interest, _) = self.fill(source, digest, until).await?;
        let size = fill.opened(interest, until).await?.size;
        self.followed(&fill, source, permit).await?;
        Ok(size)
    }
}

/// Whether a HEAD's answer can be that of a blob: captive portals and front ends answer everything with 200.
fn is_of_blob(headers: &HeaderMap, digest: &Digest) -> bool {
    let named = digest_header(headers).map(|named| named == *digest);
    let kind = media_type(headers).unwrap_or_default().to_ascii_lowercase();
    named.unwrap_or_else(|| !kind.starts_with("text/") && kind != "application/json")
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
