//! One connection of a fill: asks for what the plan says, one request after the other, and goes on where one broke.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Method, StatusCode, header};
use tidepool_oci::{ContentRange, Window};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};

use super::{
    ANSWER_WITHIN, PullError, blob_path,
    fill::Fill,
    lanes::Lane,
    planner::{Line, Plan},
    sink::Sink,
};
use crate::{metrics::Class, store::Reservation, tasks::lock, upstream::UpstreamError};

/// An upstream that sends nothing for this long has broken off; a new connection may do better. Shorter than a reader
/// waits for its first byte.
const IDLE: Duration = Duration::from_secs(10);
/// The same where other connections of the fill go on meanwhile.
const STALLED: Duration = Duration::from_secs(3);
/// Resumptions without progress before a connection is given up: a second and a half, where the registry refuses. It
/// bridges a short break, and a pull that cannot succeed fails soon after it would have without us.
const MOST_TRIES: u32 = 4;
/// So many bytes of an answer are progress: an upstream that gives a few and breaks off would keep a fill for ever.
const PROGRESS: u64 = 64 << 10;
/// Wait before the first resumption; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of one fill share.
pub(super) struct Shared {
    pub(super) fill: Arc<Fill>,
    pub(super) lane: Arc<Lane>,
    pub(super) plan: Mutex<Plan>,
    pub(super) room: Mutex<Reservation>,
    /// How many connections are to be busy, whatever readers want.
    pub(super) steady: AtomicUsize,
    pub(super) received: AtomicU64,
}

/// What a connection begins with: its claim is made already.
pub(super) enum Start {
    Answer(reqwest::Response),
    Window(Window),
}

/// One connection.
pub(super) struct Connection<'a> {
    pub(super) shared: &'a Shared,
    pub(super) sink: &'a Sink,
    pub(super) line: Line,
    /// Leave to be one more than the first, which need not try hard while others go on.
    pub(super) extra: Option<OwnedSemaphorePermit>,
}

/// How a connection's work ended.
pub(super) struct Ended {
    /// Whether it had tried as hard as can be.
    pub(super) in_vain: bool,
    pub(super) error: Option<PullError>,
}

/// Why a request brought less than it was to.
struct Broken {
    error: PullError,
    progressed: bool,
}

impl Shared {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    pub(super) fn make_room(&self, bytes: u64) -> Result<(), PullError> {
        if lock(&self.room).grow_to(bytes) { Ok(()) } else { Err(PullError::NoRoom) }
    }

    /// Asks for these bytes; for the whole without a range.
    pub(super) async fn ask(
        &self,
        window: Window,
        within: Duration,
        insist: bool,
    ) -> Result<reqwest::Response, PullError> {
        let (path, source) = (blob_path(&self.fill.digest), &self.fill.source);
        let mut ask = source.ask(Method::GET, &path, Class::Blob, within);
        ask.insist = insist;
        if let Some(range) = self.range(window) {
            let range = HeaderValue::try_from(range).map_err(|_| PullError::Garbage("no valid offset"))?;
            ask.headers.insert(header::RANGE, range);
        }
        Ok(source.upstream.send(&ask).await?)
    }

    fn range(&self, Window { start, end }: Window) -> Option<String> {
        let to_the_end = end >= self.plan().size().unwrap_or(u64::MAX);
        match (start, to_the_end) {
            (0, true) => None,
            (_, true) => Some(format!("bytes={start}-")),
            (_, false) => Some(format!("bytes={start}-{}", end - 1)),
        }
    }

    /// Whether an answer is what was asked for: these bytes, or all from an upstream that does not know ranges.
    pub(super) fn accept(&self, line: Line, asked: Window, answer: &reqwest::Response) -> Result<(), PullError> {
        let ranged = self.range(asked).is_some();
        let size = if answer.status() == StatusCode::PARTIAL_CONTENT {
            let value = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let range = value.and_then(ContentRange::parse).filter(|range| range.window.start == asked.start);
            self.lane.answered_range(true);
            Some(range.ok_or(PullError::Garbage("another range than we asked for"))?.size)
        } else {
            answer.content_length()
        };
        let known = self.plan().size();
        if let (Some(known), Some(size)) = (known, size)
            && known != size
        {
            return Err(PullError::Garbage("another size than before"));
        }
        if ranged && answer.status() != StatusCode::PARTIAL_CONTENT {
            self.lane.answered_range(false);
            if self.fill.lines.load(Ordering::Relaxed) > 1 {
                return Err(PullError::Garbage("the whole where a part was asked for"));
            }
            self.plan().restart(line);
        }
        if let (None, Some(size)) = (known, size) {
            self.plan().set_size(size);
        }
        Ok(())
    }
}

impl Connection<'_> {
    /// Fetches until nothing is left for this connection.
    pub(super) async fn run(self, start: Start) -> Ended {
        self.shared.fill.lines.fetch_add(1, Ordering::Relaxed);
        let mut tries = 0;
        let error = self.fetch_all(start, &mut tries).await.err();
        self.shared.plan().end(self.line);
        self.shared.fill.lines.fetch_sub(1, Ordering::Relaxed);
        let in_vain = error.is_some() && (self.extra.is_none() || tries == MOST_TRIES);
        Ended { in_vain, error }
    }

    async fn fetch_all(&self, start: Start, tries: &mut u32) -> Result<(), PullError> {
        let mut next = Some(start);
        while let Some(start) = next {
            match self.fetch(start).await {
                Ok(()) => *tries = 0,
                Err(Broken { error, progressed }) => {
                    self.shared.plan().broke(self.line);
                    *tries = if progressed { 0 } else { *tries };
                    let given_up = *tries == MOST_TRIES || (self.is_spare() && !progressed);
                    if given_up || error.is_absence() || is_ours(&error) {
                        return Err(error);
                    }
                    tracing::debug!(digest = %self.shared.fill.digest, line = self.line, %error, "a connection of a fill broke");
                    self.shared.fill.source.upstream.count_resumed_fill();
                    sleep(FIRST_PAUSE * 2_u32.pow(*tries)).await;
                    *tries += 1;
                }
            }
            next = self.next();
        }
        Ok(())
    }

    /// Whether others go on without it: the last one is none to spare, whichever it is.
    fn is_spare(&self) -> bool {
        self.extra.is_some() && self.shared.plan().others_are_busy(self.line)
    }

    fn next(&self) -> Option<Start> {
        let wants = self.shared.fill.wants();
        let task = self.shared.plan().claim(self.line, &wants, self.shared.steady.load(Ordering::Relaxed))?;
        if let Some(reader) = task.reader {
            self.shared.fill.served(reader);
        }
        Some(Start::Window(task.window))
    }

    async fn fetch(&self, start: Start) -> Result<(), Broken> {
        let at_first = |error| Broken { error, progressed: false };
        let answer = match start {
            Start::Answer(answer) => answer,
            Start::Window(window) => {
                let answer = self.shared.ask(window, ANSWER_WITHIN, !self.is_spare()).await.map_err(at_first)?;
                self.shared.accept(self.line, window, &answer).map_err(at_first)?;
                self.shared.plan().answered(self.line);
                answer
            }
        };
        let mut new = 0;
        self.drain(answer, &mut new).await.map_err(|error| Broken { error, progressed: new >= PROGRESS })
    }

    /// Receives one answer; counts what of it is `new`.
    async fn drain(&self, mut answer: reqwest::Response, new: &mut u64) -> Result<(), PullError> {
        while let Some(chunk) = self.chunk(&mut answer).await? {
            self.shared.fill.source.upstream.count_bytes(chunk.len());
            if !self.keep(chunk, new).await? {
                // So that it is known to be over, and the connection can carry the next request.
                let _ = timeout(FIRST_PAUSE, answer.chunk()).await;
                return Ok(());
            }
        }
        let mut plan = self.shared.plan();
        if plan.size().is_none() {
            let size = plan.received();
            plan.set_size(size);
        }
        // A server may give less than the range it was asked for.
        if *new >= PROGRESS || plan.is_whole() { Ok(()) } else { Err(UpstreamError::Cut(None).into()) }
    }

    /// Hands on what is new of a chunk; says whether more of the answer is needed.
    async fn keep(&self, mut chunk: Bytes, new: &mut u64) -> Result<bool, PullError> {
        while !chunk.is_empty() {
            let step = self.shared.plan().receive(self.line, chunk.len() as u64);
            chunk.advance(usize::try_from(step.skip).unwrap_or(usize::MAX).min(chunk.len()));
            let fresh = chunk.split_to(usize::try_from(step.take).unwrap_or(usize::MAX).min(chunk.len()));
            if !fresh.is_empty() {
                *new += step.take;
                let received = self.shared.received.fetch_add(step.take, Ordering::Relaxed) + step.take;
                if self.shared.plan().size().is_none() {
                    self.shared.make_room(received)?;
                }
                if !self.sink.push(step.at, fresh).await {
                    return Err(PullError::Stopped); // the sink knows why
                }
            }
            if !step.more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next bytes; `None` at the end of the answer.
    async fn chunk(&self, answer: &mut reqwest::Response) -> Result<Option<Bytes>, PullError> {
        let before = self.shared.received.load(Ordering::Relaxed);
        let mut waited = timeout(STALLED, answer.chunk()).await;
        if waited.is_err() && self.shared.received.load(Ordering::Relaxed) == before {
            waited = timeout(IDLE - STALLED, answer.chunk()).await;
        }
        let broken = match waited {
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => UpstreamError::Cut(Some(Arc::new(error.without_url()))),
            Err(_) => UpstreamError::Silent(IDLE),
        };
        if let Some(address) = answer.remote_addr() {
            self.shared.fill.source.upstream.avoid(address);
        }
        Err(broken.into())
    }
}

/// Whether it is we who cannot go on.
pub(super) fn is_ours(error: &PullError) -> bool {
    matches!(error, PullError::Stopped | PullError::NoSpace | PullError::NoRoom)
}
