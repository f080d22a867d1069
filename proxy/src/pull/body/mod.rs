//! Bytes out: a part of a blob, read from its file as far as it is there.

mod part;
mod source;

use std::{sync::Arc, time::Duration, vec};

use bytes::Bytes;
use futures::Stream;
use prometheus_client::metrics::counter::Counter;
use tidepool_oci::Window;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use part::{OCTETS, Part, Shape};
pub(crate) use source::Way;

use super::{
    PullError, Puller,
    blobs::{self, Blob},
    direct::Direct,
    fill::{Follower, Progress, State},
};
use crate::store::{BLOCK, StoredBlob};
use part::Section;
use source::{FileSource, SPAN};

/// The end of an unverified blob that is held back until its hash matches (P5): without it no client can take a
/// corrupt blob for a whole one.
pub(super) const HELD_BACK: u64 = 64 << 10;
/// A fill's transfer gives up long before, so this is the end of a wait that has gone wrong.
const READER_IDLE: Duration = Duration::from_secs(180);

/// The bytes of one response, to be sent in order.
#[derive(Debug)]
pub(crate) struct BlobBody {
    puller: Arc<Puller>,
    blob: Blob,
    way: Way,
    from: From,
    /// Text to be sent before the bytes `at..end`.
    head: Bytes,
    at: u64,
    end: u64,
    /// What comes behind them.
    sections: vec::IntoIter<Section>,
    tail: Bytes,
    held_back: bool,
}

#[derive(Debug)]
enum From {
    Kept(StoredBlob, FileSource),
    Filling(Follower, FileSource),
    Upstream(Box<Direct>),
}

impl From {
    async fn of(blob: &Blob, at: u64, end: u64, held_back: bool, way: &Way) -> Result<Self, PullError> {
        let source = |file, whole| FileSource::new(file, blob.size, whole, way);
        Ok(match &blob.bytes {
            blobs::Bytes::Kept(kept) => Self::Kept(kept.clone(), source(&kept.file, true)),
            blobs::Bytes::Filling(fill, opened) => {
                Self::Filling(fill.follow(Window { start: at, end }), source(&opened.file, false))
            }
            blobs::Bytes::Upstream => Self::Upstream(Box::new(Direct::open(blob, at, end, held_back, None).await?)),
        })
    }

    fn file(&self) -> Option<&FileSource> {
        match self {
            Self::Kept(_, source) | Self::Filling(_, source) => Some(source),
            Self::Upstream(_) => None,
        }
    }
}

/// What can be done next.
enum Step {
    /// Bytes up to here can be sent.
    Until(u64),
    /// The fill has to go on without the disk.
    PastTheDisk(u64),
}

impl BlobBody {
    /// Opens `part` of `blob` and waits until its first byte, or its end, can be sent.
    pub(crate) async fn open(puller: &Arc<Puller>, blob: Blob, part: &Part, way: Way) -> Result<Self, PullError> {
        let (held_back, tail) = (part.held_back, part.tail(&blob.digest));
        let mut sections = part.sections(&blob.digest, blob.size);
        let wanted = sections.as_slice().iter().map(|section| section.end - section.start).sum();
        let way = way.of(wanted, sections.len());
        let Some(Section { head, start: at, end }) = sections.next() else { return Err(PullError::Stopped) };
        let until = blob.permit.deadline.until;
        let from = From::of(&blob, at, end, held_back, &way).await?;
        let puller = Arc::clone(puller);
        let mut body = Self { puller, blob, way, from, head, at, end, sections, tail, held_back };
        timeout_at(until, body.step()).await.map_err(|_| PullError::Late)??;
        Ok(body)
    }

    /// As a stream that ends in an error when the blob does: the server then breaks the connection.
    pub(crate) fn stream(self, served: Counter) -> impl Stream<Item = Result<Bytes, PullError>> + Send + 'static {
        futures::stream::unfold(Some(self), move |body| {
            let served = served.clone();
            async move {
                let mut body = body?;
                match body.next().await {
                    Ok(Some(bytes)) => {
                        served.inc_by(bytes.len() as u64);
                        Some((Ok(bytes), Some(body)))
                    }
                    Ok(None) => None,
                    Err(error) => {
                        let (digest, cause) = (&body.blob.digest, &error as &dyn std::error::Error);
                        tracing::warn!(%digest, at = body.at, error = cause, "breaking off a blob");
                        Some((Err(error), None))
                    }
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            if !self.head.is_empty() {
                return Ok(Some(std::mem::take(&mut self.head)));
            }
            if let Some(bytes) = self.content().await? {
                return Ok(Some(bytes));
            }
            let Some(section) = self.sections.next() else {
                let tail = std::mem::take(&mut self.tail);
                return Ok((!tail.is_empty()).then_some(tail));
            };
            (self.head, self.at, self.end) = (section.head, section.start, section.end);
            if matches!(self.from, From::Upstream(_)) {
                self.from = From::of(&self.blob, self.at, self.end, self.held_back, &self.way).await?;
            }
        }
    }

    /// The next bytes of the blob; `None` at the end of the section.
    async fn content(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            if let From::Upstream(direct) = &mut self.from {
                let bytes = direct.next().await?;
                self.at += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                return Ok(bytes);
            }
            if self.at == self.end && self.blob.size > 0 {
                return Ok(None);
            }
            match timeout(READER_IDLE, self.step()).await.map_err(|_| PullError::Late)?? {
                Step::Until(_) if self.at == self.end => return Ok(None),
                // What was found damaged comes past the store: there is no room to fill it again.
                Step::Until(_) if matches!(self.from, From::Upstream(_)) => {}
                Step::Until(until) => match self.piece(until).await {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(error) => self.heal(error).await?,
                },
                Step::PastTheDisk(written) => self.pass_the_disk(written).await?,
            }
        }
    }

    async fn pass_the_disk(&mut self, written: u64) -> Result<(), PullError> {
        if self.sections.len() > 0 || !self.tail.is_empty() {
            return Err(PullError::NoSpace); // not a transfer for each range; who asks again gets the whole
        }
        let prefix = self.from.file().map(|source| (Arc::clone(&source.file), written));
        let direct = Direct::open(&self.blob, self.at, self.end, self.held_back, prefix).await?;
        self.from = From::Upstream(Box::new(direct));
        Ok(())
    }

    /// Waits until something can be done.
    async fn step(&mut self) -> Result<Step, PullError> {
        let (at, end) = (self.at, self.end);
        let safe = if self.held_back { self.blob.size.saturating_sub(HELD_BACK) } else { self.blob.size };
        if let Some(until) = self.sound().await? {
            return Ok(Step::Until(until));
        }
        let From::Filling(follower, _) = &mut self.from else { return Ok(Step::Until(end)) };
        if at < end {
            follower.wants(Window { start: at, end });
        }
        let judge = |progress: &Progress| {
            let written = progress.present.end_from(at).min(end);
            match &progress.state {
                State::Verified if written == end => Some(Ok(Step::Until(end))),
                State::Verified => Some(Err(PullError::Garbage("fewer bytes than it announced"))),
                State::Failed(PullError::NoSpace | PullError::NoRoom) if written > at && written.min(safe) > at => {
                    Some(Ok(Step::Until(written.min(safe))))
                }
                State::Failed(PullError::NoSpace | PullError::NoRoom) => {
                    Some(Ok(Step::PastTheDisk(progress.present.end_from(0))))
                }
                State::Failed(error) => Some(Err(error.clone())),
                State::Running if written.min(safe) > at => Some(Ok(Step::Until(written.min(safe)))),
                State::Running if at == end && !self.held_back => Some(Ok(Step::Until(end))),
                State::Running => None,
            }
        };
        follower.wait(judge).await.unwrap_or(Err(PullError::Stopped))
    }

    /// How far a kept blob was found sound from here on; none where it is being filled, or from now on.
    async fn sound(&mut self) -> Result<Option<u64>, PullError> {
        let From::Kept(kept, _) = &self.from else { return Ok(None) };
        let until = ((self.at / BLOCK * BLOCK) + SPAN).min(self.end);
        let next = Window { start: self.at, end: until };
        if self.at == self.end || kept.is_sound(next) {
            return Ok(Some(until));
        }
        let kept = kept.clone();
        let checked = tokio::task::spawn_blocking(move || kept.check(next)).await.map_err(|_| PullError::Stopped)?;
        if checked.unwrap_or(false) {
            return Ok(Some(until));
        }
        self.fill_again().await?;
        Ok(None)
    }

    /// Goes on after a failure to read, if that is how a kept blob turns out to be damaged.
    async fn heal(&mut self, error: PullError) -> Result<(), PullError> {
        match (&self.from, &error) {
            (From::Kept(..), PullError::Store(_)) => self.fill_again().await,
            _ => Err(error),
        }
    }

    /// Goes on from the same byte, in the same response, with a fill in place of a kept blob that is damaged.
    async fn fill_again(&mut self) -> Result<(), PullError> {
        let until = Instant::now() + READER_IDLE;
        self.blob.bytes = self.puller.again(&self.blob, until).await?;
        self.from = From::of(&self.blob, self.at, self.end, self.held_back, &self.way).await?;
        Ok(())
    }

    async fn piece(&mut self, until: u64) -> Result<Bytes, PullError> {
        let source = self.from.file().ok_or(PullError::Stopped)?;
        let bytes = source.piece(self.at, until).await?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}
