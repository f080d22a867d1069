//! Bytes out: a part of a blob, read from its file as far as it is there.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use prometheus_client::metrics::counter::Counter;
use tidepool_oci::{ByteRange, ByteRanges, Unsatisfiable, Window};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    PullError, Puller,
    blobs::{self, Blob},
    direct::Direct,
    fill::{Follower, Progress, State},
};
use crate::store::{BLOCK, StoredBlob};

/// Read and sent at once.
const PIECE: u64 = 256 << 10;
/// The end of an unverified blob that is held back until its hash matches (P5): without it no client can take a
/// corrupt blob for a whole one.
pub(super) const HELD_BACK: u64 = 64 << 10;
/// A fill's transfer gives up long before, so this is the end of a wait that has gone wrong.
const READER_IDLE: Duration = Duration::from_secs(180);

/// Which part of a blob a response carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it; may be empty.
    Whole,
    /// A range.
    Range {
        /// Which bytes.
        window: Window,
        /// Whether the client named its end: such a reader verifies the whole itself.
        bounded: bool,
    },
}

impl Part {
    /// The part that a request's ranges ask for. Several ranges are answered with the whole, which is legal.
    pub(crate) fn of(ranges: Option<&ByteRanges>, size: u64) -> Result<Self, Unsatisfiable> {
        let Some(ranges) = ranges else { return Ok(Self::Whole) };
        let windows = ranges.windows(size)?;
        match (ranges.as_slice(), windows.as_slice()) {
            ([range], [window]) => {
                let bounded = matches!(range, ByteRange::Bounded { .. }) && window.len() < size;
                Ok(Self::Range { window: *window, bounded })
            }
            _ => Ok(Self::Whole),
        }
    }

    /// First byte, and one past the last.
    pub(crate) fn bounds(self, size: u64) -> (u64, u64) {
        match self {
            Self::Whole => (0, size),
            Self::Range { window, .. } => (window.start, window.end),
        }
    }

    fn is_held_back(self) -> bool {
        !matches!(self, Self::Range { bounded: true, .. })
    }
}

/// The bytes of one response, to be sent in order.
#[derive(Debug)]
pub(crate) struct BlobBody {
    puller: Arc<Puller>,
    blob: Blob,
    from: From,
    at: u64,
    end: u64,
    held_back: bool,
}

#[derive(Debug)]
enum From {
    Kept(StoredBlob),
    Filling(Arc<File>, Follower),
    Upstream(Box<Direct>),
}

impl From {
    async fn of(blob: &Blob, at: u64, end: u64, held_back: bool) -> Result<Self, PullError> {
        Ok(match &blob.bytes {
            blobs::Bytes::Kept(kept) => Self::Kept(kept.clone()),
            blobs::Bytes::Filling(fill, opened) => {
                Self::Filling(Arc::clone(&opened.file), fill.follow(Window { start: at, end }))
            }
            blobs::Bytes::Upstream => Self::Upstream(Box::new(Direct::open(blob, at, end, held_back, None).await?)),
        })
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
    pub(crate) async fn open(puller: &Arc<Puller>, blob: Blob, part: Part) -> Result<Self, PullError> {
        let (at, end) = part.bounds(blob.size);
        let held_back = part.is_held_back();
        let until = blob.permit.deadline.until;
        let from = From::of(&blob, at, end, held_back).await?;
        let mut body = Self { puller: Arc::clone(puller), blob, from, at, end, held_back };
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
            if let From::Upstream(direct) = &mut self.from {
                let bytes = direct.next().await?;
                self.at += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                return Ok(bytes);
            }
            match timeout(READER_IDLE, self.step()).await.map_err(|_| PullError::Late)?? {
                Step::Until(_) if self.at == self.end => return Ok(None),
                Step::Until(until) => return self.read(until).await.map(Some),
                Step::PastTheDisk(written) => {
                    let prefix = self.file().map(|file| (file, written));
                    let direct = Direct::open(&self.blob, self.at, self.end, self.held_back, prefix).await?;
                    self.from = From::Upstream(Box::new(direct));
                }
            }
        }
    }

    /// Waits until something can be done.
    async fn step(&mut self) -> Result<Step, PullError> {
        let (at, end) = (self.at, self.end);
        let safe = if self.held_back { self.blob.size.saturating_sub(HELD_BACK) } else { self.blob.size };
        if let Some(until) = self.sound().await? {
            return Ok(Step::Until(until));
        }
        let From::Filling(_, follower) = &mut self.from else { return Ok(Step::Until(end)) };
        if at < end {
            follower.wants(Window { start: at, end });
        }
        let judge = |progress: &Progress| {
            let written = progress.present.end_from(at).min(end);
            match &progress.state {
                State::Verified if written == end => Some(Ok(Step::Until(end))),
                State::Verified => Some(Err(PullError::Garbage("fewer bytes than it announced"))),
                State::Failed(PullError::NoSpace) if written > at && written.min(safe) > at => {
                    Some(Ok(Step::Until(written.min(safe))))
                }
                State::Failed(PullError::NoSpace) => Some(Ok(Step::PastTheDisk(progress.present.end_from(0)))),
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
        let From::Kept(kept) = &self.from else { return Ok(None) };
        let until = ((self.at / BLOCK + 1) * BLOCK).min(self.end);
        let next = Window { start: self.at, end: until };
        if self.at == self.end || kept.is_sound(next) {
            return Ok(Some(until));
        }
        let kept = kept.clone();
        let checked = tokio::task::spawn_blocking(move || kept.check(next)).await.map_err(|_| PullError::Stopped)?;
        if checked.unwrap_or(false) {
            return Ok(Some(until));
        }
        let until = Instant::now() + READER_IDLE;
        self.blob.bytes = self.puller.again(&self.blob, until).await?;
        self.from = From::of(&self.blob, self.at, self.end, self.held_back).await?;
        Ok(None)
    }

    fn file(&self) -> Option<Arc<File>> {
        match &self.from {
            From::Kept(kept) => Some(Arc::clone(&kept.file)),
            From::Filling(file, _) => Some(Arc::clone(file)),
            From::Upstream(_) => None,
        }
    }

    async fn read(&mut self, until: u64) -> Result<Bytes, PullError> {
        let (at, len) = (self.at, PIECE.min(until - self.at));
        let file = self.file().ok_or(PullError::Stopped)?;
        let read = move || {
            let mut piece = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            file.read_exact_at(&mut piece, at)?;
            Ok::<_, io::Error>(Bytes::from(piece))
        };
        let piece = tokio::task::spawn_blocking(read).await.map_err(|_| PullError::Stopped)??;
        self.at += len;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(header: &str, size: u64) -> Part {
        Part::of(ByteRanges::parse(header).as_ref(), size).unwrap()
    }

    #[test]
    fn only_a_range_with_an_end_that_is_not_the_whole_passes_unverified() {
        for (header, held_back) in [
            ("", true),
            ("bytes=0-", true),
            ("bytes=5-", true),
            ("bytes=-5", true),
            ("bytes=0-99", true),
            ("bytes=0-1000", true),
            ("bytes=0-98", false),
            ("bytes=90-99", false),
            ("bytes=0-1,5-6", true),
        ] {
            assert_eq!(part(header, 100).is_held_back(), held_back, "{header}");
        }
        assert_eq!(part("bytes=0-1,5-6", 100), Part::Whole);
        assert!(Part::of(ByteRanges::parse("bytes=100-").as_ref(), 100).is_err());
    }
}
