//! Past the store: a blob streamed from the upstream to one reader, when the disk is full (P11).
//!
//! Nothing is shared or kept, but the promise holds: the end is held back until the whole's hash matches.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use tidepool_oci::{ContentRange, Digest};
use tokio::time::{Instant, timeout};

use super::{FIRST_BYTE_WITHIN, PullError, blob_path, blobs::Blob, body::HELD_BACK};
use crate::{hash::Hasher, metrics::Class, upstream::UpstreamError};

/// An upstream silent for this long has broken off.
const IDLE: Duration = Duration::from_secs(20);

/// One reader's own transfer.
#[derive(Debug)]
pub(super) struct Direct {
    blob: Blob,
    answer: Option<reqwest::Response>,
    /// Bytes of the answer that come before the part wanted.
    skip: u64,
    /// Bytes of the part still to be received.
    left: u64,
    check: Option<Hasher>,
    held: VecDeque<Bytes>,
    held_bytes: u64,
}

impl Direct {
    /// Asks for bytes `at..end`. To check the whole, what precedes them is hashed: from `prefix`, a file that holds that
    /// many of the blob's first bytes, and from the upstream.
    pub(super) async fn open(
        blob: &Blob,
        at: u64,
        end: u64,
        checked: bool,
        prefix: Option<(Arc<File>, u64)>,
    ) -> Result<Self, PullError> {
        let (check, from) = match (checked, prefix) {
            (false, _) => (None, at),
            (true, None) => (Some(Hasher::new(blob.digest.algorithm())), 0),
            (true, Some((file, len))) => {
                (Some(hash_prefix(blob.digest.clone(), file, len.min(at)).await?), len.min(at))
            }
        };
        // The whole is needed to check it, wherever the part ends.
        let answer = ask(blob, from, if checked { blob.size } else { end }).await?;
        let begins = begin_of(&answer, blob.size)?;
        if begins != from && !(begins == 0 && check.is_none()) {
            return Err(PullError::Garbage("another range than we asked for"));
        }
        let blob = blob.clone();
        Ok(Self {
            blob,
            answer: Some(answer),
            skip: at - begins,
            left: end - at,
            check,
            held: VecDeque::new(),
            held_bytes: 0,
        })
    }

    /// The next bytes; `None` after the last, once the whole was found right.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            if let Some(bytes) = self.release() {
                return Ok(Some(bytes));
            }
            if self.left == 0 && self.check.is_none() {
                return Ok(None);
            }
            self.receive().await?;
        }
    }

    /// What can be let go: while the whole is unchecked, only what leaves enough behind.
    fn release(&mut self) -> Option<Bytes> {
        let first = self.held.front()?.len() as u64;
        if self.check.is_some() && self.held_bytes - first < HELD_BACK {
            return None;
        }
        self.held_bytes -= first;
        self.held.pop_front()
    }

    async fn receive(&mut self) -> Result<(), PullError> {
        let answer = self.answer.as_mut().ok_or(PullError::Garbage("fewer bytes than it announced"))?;
        let received = timeout(IDLE, answer.chunk()).await.map_err(|_| UpstreamError::Silent(IDLE))?;
        let received = received.map_err(|error| UpstreamError::Cut(Some(Arc::new(error.without_url()))))?;
        let Some(mut chunk) = received else {
            self.answer = None;
            let whole = self.left == 0 && self.check.take().is_none_or(|hasher| hasher.matches(&self.blob.digest));
            return if whole { Ok(()) } else { Err(PullError::WrongDigest) };
        };
        self.blob.source.upstream.count_bytes(chunk.len());
        if let Some(check) = &mut self.check {
            check.update(&chunk);
        }
        let before = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        self.skip -= before as u64;
        let mut chunk = chunk.split_off(before);
        chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= chunk.len() as u64;
        self.held_bytes += chunk.len() as u64;
        if !chunk.is_empty() {
            self.held.push_back(chunk);
        }
        Ok(())
    }
}

async fn ask(blob: &Blob, from: u64, end: u64) -> Result<reqwest::Response, PullError> {
    let path = blob_path(&blob.digest);
    let source = &blob.source;
    let mut ask = source.ask(Method::GET, &path, Class::Blob, FIRST_BYTE_WITHIN);
    // What is left of the request's own time; once it has its first byte, as long again.
    let until = blob.permit.deadline.until;
    if Instant::now() < until {
        ask.until = until;
    }
    if from > 0 || end < blob.size {
        let range = HeaderValue::try_from(format!("bytes={from}-{}", end.saturating_sub(1)));
        ask.headers.insert(header::RANGE, range.map_err(|_| PullError::Garbage("no valid offset"))?);
    }
    Ok(source.upstream.send(&ask).await?)
}

/// Which of the blob's bytes an answer begins with.
fn begin_of(answer: &reqwest::Response, size: u64) -> Result<u64, PullError> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let value = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let range = value.and_then(ContentRange::parse).filter(|range| range.size == size);
    range.map(|range| range.window.start).ok_or(PullError::Garbage("another range than we asked for"))
}

async fn hash_prefix(digest: Digest, file: Arc<File>, len: u64) -> Result<Hasher, PullError> {
    let hash = move || {
        let (mut hasher, mut piece, mut at) = (Hasher::new(digest.algorithm()), vec![0; 256 << 10], 0);
        while at < len {
            let count = usize::try_from(len - at).unwrap_or(usize::MAX).min(piece.len());
            file.read_exact_at(&mut piece[..count], at)?;
            hasher.update(&piece[..count]);
            at += count as u64;
        }
        Ok::<_, io::Error>(hasher)
    };
    Ok(tokio::task::spawn_blocking(hash).await.map_err(|_| PullError::Stopped)??)
}
