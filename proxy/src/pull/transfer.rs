//! Runs one fill: asks, receives, resumes, checks, keeps.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use tidepool_oci::{ContentRange, Digest};
use tokio::{
    sync::SemaphorePermit,
    time::{sleep, timeout},
};

use super::{
    FIRST_BYTE_WITHIN, PullError, Puller, blob_path,
    fill::{Fill, State},
    segments::SegmentMap,
    sink::Sink,
};
use crate::{
    metrics::Class,
    store::Reservation,
    tasks::lock,
    upstream::{Ask, UpstreamError},
};

/// An upstream that sends nothing for this long has broken off; a resumed connection may do better.
const IDLE: Duration = Duration::from_secs(20);
/// Resumptions without a byte of progress before a fill is given up.
const MOST_TRIES: u32 = 5;
/// Wait before the first resumption; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How one connection ended.
enum End {
    /// The upstream ended its answer.
    Done,
    /// It broke; what was received holds.
    Broken(UpstreamError),
    /// The disk takes no more: `Sink::finish` says why.
    NotWritten,
}

/// One fill's transfer.
struct Transfer<'a> {
    fill: &'a Arc<Fill>,
    room: Reservation,
    received: u64,
    size: Option<u64>,
}

/// The end of a fill, however it comes: also when the proxy stops or the transfer panics, nobody waits for it for ever.
struct Ending<'a> {
    fills: &'a Mutex<HashMap<Digest, Arc<Fill>>>,
    fill: &'a Fill,
    state: State,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // First forgotten, then told: who hears of the end and asks again finds the store or starts anew.
        lock(self.fills).remove(&self.fill.digest);
        let state = std::mem::take(&mut self.state);
        self.fill.update(|progress| progress.state = state);
    }
}

impl Puller {
    /// Runs `fill` to its end and tells its readers.
    pub(super) async fn run_fill(self: Arc<Self>, fill: Arc<Fill>) {
        let _counted = self.metrics.fill();
        let mut ending = Ending { fills: &self.fills, fill: &fill, state: State::Failed(PullError::Stopped) };
        let result = self.transfer(&fill).await;
        if let Err(error) = &result {
            let (cause, source) = (error as &dyn std::error::Error, &fill.source);
            tracing::warn!(digest = %fill.digest, registry = %source.upstream.name(), repository = %source.repository, error = cause, "fill failed");
        }
        ending.state = result.map_or_else(State::Failed, |()| State::Verified);
    }

    async fn transfer(self: &Arc<Self>, fill: &Arc<Fill>) -> Result<(), PullError> {
        let _slot = self.slot().await?;
        // Another fill of the same may have ended between the look into the store and the start of this one.
        if let Some(kept) = self.store.blob(&fill.digest).await {
            fill.update(|progress| {
                (progress.size, progress.file) = (Some(kept.size), Some(kept.file));
                progress.present = SegmentMap::up_to(kept.size);
            });
            return Ok(());
        }
        let partial =
            self.store.partial(&fill.digest).await.map(Arc::new).inspect_err(|error| self.not_kept(error, "blob"))?;
        let mut transfer = Transfer { fill, room: self.store.reserve(), received: 0, size: None };
        let answer = transfer.ask(false).await.map_err(|error| match error {
            PullError::Upstream(error) => self.noting_absence(&fill.source, &blob_path(&fill.digest), error),
            other => other,
        })?;
        let origin = self.origin_of(&fill.source, &fill.digest).await;
        if let Some(origin) = &origin {
            self.store.add_origin(&fill.digest, origin.clone()).await?; // before anybody can follow
        }
        transfer.size = answer.content_length();
        transfer.make_room(transfer.size.unwrap_or_default())?;
        fill.update(|progress| (progress.size, progress.file) = (transfer.size, Some(Arc::clone(partial.file()))));
        let sink = Sink::start(Arc::clone(fill), Arc::clone(&partial));
        let received = transfer.receive(answer, &sink).await;
        let hasher = sink.finish().await.inspect_err(|error| {
            if matches!(error, PullError::NoSpace) {
                self.store.disk_is_full();
            }
        })?;
        received?;
        if !hasher.matches(&fill.digest) {
            return Err(PullError::WrongDigest);
        }
        let Ok(partial) = Arc::try_unwrap(partial) else { return Err(PullError::Stopped) }; // the sink has ended
        if let Err(error) = self.store.commit_partial(partial, &fill.digest, origin).await {
            self.not_kept(&error, "blob"); // its readers have it all the same
        }
        fill.update(|progress| progress.size = Some(transfer.received));
        Ok(())
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, PullError> {
        let waited = timeout(FIRST_BYTE_WITHIN, self.fill_slots.acquire()).await;
        waited.map_err(|_| PullError::Late)?.map_err(|_| PullError::Stopped)
    }
}

impl Transfer<'_> {
    /// Asks for the blob, from where we are on.
    async fn ask(&self, insist: bool) -> Result<reqwest::Response, PullError> {
        let path = blob_path(&self.fill.digest);
        let source = &self.fill.source;
        let mut ask = Ask::new(Method::GET, &source.repository, &path, Class::Blob, FIRST_BYTE_WITHIN);
        ask.insist = insist;
        if self.received > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", self.received));
            ask.headers.insert(header::RANGE, range.map_err(|_| PullError::Garbage("no valid offset"))?);
        }
        Ok(source.upstream.send(&ask).await?)
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), PullError> {
        if self.room.grow_to(bytes) { Ok(()) } else { Err(PullError::NoSpace) }
    }

    /// Receives to the end, over as many connections as it takes.
    async fn receive(&mut self, first: reqwest::Response, sink: &Sink) -> Result<(), PullError> {
        let (mut answer, mut skip, mut tries) = (first, 0, 0);
        loop {
            let before = self.received;
            let broken = match self.drain(answer, skip, sink).await? {
                // A server may give less than the range it was asked for.
                End::Done if self.size.is_some_and(|size| self.received < size) => UpstreamError::Cut(None),
                End::Done | End::NotWritten => return Ok(()),
                End::Broken(error) => error,
            };
            if self.received > before {
                tries = 0;
            }
            (answer, skip) = self.resume(broken, &mut tries).await?;
        }
    }

    /// Receives one answer, leaving out its first `skip` bytes.
    async fn drain(&mut self, mut answer: reqwest::Response, mut skip: u64, sink: &Sink) -> Result<End, PullError> {
        loop {
            let mut chunk = match timeout(IDLE, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(End::Done),
                Ok(Err(error)) => return Ok(End::Broken(UpstreamError::Cut(Some(Arc::new(error.without_url()))))),
                Err(_) => return Ok(End::Broken(UpstreamError::Silent(IDLE))),
            };
            self.fill.source.upstream.count_bytes(chunk.len());
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= known as u64;
            let fresh = chunk.split_off(known);
            self.received += fresh.len() as u64;
            if self.size.is_some_and(|size| self.received > size) {
                return Err(PullError::Garbage("more bytes than it announced"));
            }
            self.make_room(self.received)?;
            if !fresh.is_empty() && !sink.push(fresh).await {
                return Ok(End::NotWritten);
            }
        }
    }

    /// Opens the next connection; says how many of its first bytes are here already.
    async fn resume(&mut self, broken: UpstreamError, tries: &mut u32) -> Result<(reqwest::Response, u64), PullError> {
        let mut last = PullError::from(broken);
        while *tries < MOST_TRIES {
            sleep(FIRST_PAUSE * 2_u32.pow(*tries)).await;
            *tries += 1;
            match self.ask(true).await.and_then(|answer| self.continues(answer)) {
                Ok(next) => return Ok(next),
                Err(error) if error.is_absence() => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether an answer goes on where we are: the rest, or the whole from an upstream that does not know ranges.
    fn continues(&mut self, answer: reqwest::Response) -> Result<(reqwest::Response, u64), PullError> {
        let (size, skip) = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let value = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let range = value.and_then(ContentRange::parse).filter(|range| range.window.start == self.received);
                (Some(range.ok_or(PullError::Garbage("another range than we asked for"))?.size), 0)
            }
            _ => (answer.content_length(), self.received),
        };
        if let (Some(known), Some(size)) = (self.size, size)
            && known != size
        {
            return Err(PullError::Garbage("another size than before"));
        }
        self.size = self.size.or(size);
        Ok((answer, skip))
    }
}
