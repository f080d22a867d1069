//! The end of a transfer: hashes and writes what arrives, on a thread of its own.
//!
//! Receiving, and hashing with writing, run side by side: a fill is as fast as the slower of the two. What is between
//! them is bounded in bytes, so a slow disk slows the connections rather than filling memory.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tidepool_oci::Window;
use tokio::{
    sync::{Semaphore, mpsc, mpsc::error::TryRecvError},
    task::JoinHandle,
};

use super::{PullError, fill::Fill, frontier::Frontier, segments::SegmentMap};
use crate::{hash::Hasher, store::Partial};

/// Bytes of one fill on their way to the disk. A chunk of a fast connection has up to 400 KiB.
const MOST_QUEUED: usize = 2 << 20;
/// Readers hear of progress after so many bytes at most.
const TELL_EVERY: u64 = 256 << 10;

/// The writing end of a fill.
#[derive(Debug)]
pub(super) struct Sink {
    /// First, so that whoever is told that no more comes knows that it is abandoned.
    whole: Whole,
    pieces: mpsc::UnboundedSender<Piece>,
    /// A permit for each byte that may be queued.
    room: Arc<Semaphore>,
    thread: JoinHandle<io::Result<Option<(Hasher, u64)>>>,
}

/// Whether all has come that there is. Dropped without: the fill came to nothing, and its hash is of no use.
#[derive(Debug, Default)]
struct Whole {
    has_come: bool,
    abandoned: Arc<AtomicBool>,
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.abandoned.store(!self.has_come, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Piece {
    at: u64,
    bytes: Bytes,
}

impl Sink {
    /// Starts writing to `partial`, which has `present`, telling `fill` what is there.
    pub(super) fn start(fill: Arc<Fill>, partial: Arc<Partial>, present: SegmentMap) -> Self {
        let (pieces, queue) = mpsc::unbounded_channel();
        let (room, whole) = (Arc::new(Semaphore::new(MOST_QUEUED)), Whole::default());
        let (freed, abandoned) = (Arc::clone(&room), Arc::clone(&whole.abandoned));
        let thread = tokio::task::spawn_blocking(move || {
            let frontier = Frontier::new(&fill.digest, partial, present);
            let writing = Writing { frontier, fill: &fill, untold: Vec::new(), abandoned };
            // Whoever waits for room must hear of a failure.
            let result = writing.run(queue, &freed);
            freed.close();
            result
        });
        Self { pieces, room, thread, whole }
    }

    /// Hands over bytes that were not there; `false`: writing failed, `finish` tells why.
    pub(super) async fn push(&self, at: u64, bytes: Bytes) -> bool {
        let wanted = u32::try_from(bytes.len().min(MOST_QUEUED)).unwrap_or(u32::MAX);
        let Ok(room) = self.room.acquire_many(wanted).await else { return false };
        room.forget();
        self.pieces.send(Piece { at, bytes }).is_ok()
    }

    /// Waits until all is written. Where all `has_come`, gives the hash of it, and of how many bytes it is.
    pub(super) async fn finish(mut self, has_come: bool) -> Result<Option<(Hasher, u64)>, PullError> {
        self.whole.has_come = has_come;
        drop((self.whole, self.pieces));
        let written = self.thread.await.map_err(|_| PullError::Stopped)?;
        Ok(written?)
    }
}

struct Writing<'a> {
    frontier: Frontier,
    fill: &'a Fill,
    /// Written, and not told to the readers yet.
    untold: Vec<Window>,
    abandoned: Arc<AtomicBool>,
}

impl Writing<'_> {
    fn run(mut self, mut queue: mpsc::UnboundedReceiver<Piece>, room: &Semaphore) -> io::Result<Option<(Hasher, u64)>> {
        loop {
            let next = match queue.try_recv() {
                Ok(piece) => Some(piece),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => {
                    // At once when nothing else waits, so that a slow upstream's bytes are not held back.
                    self.tell();
                    if self.catch_up()? {
                        continue;
                    }
                    queue.blocking_recv()
                }
            };
            let Some(piece) = next else { break };
            self.write(&piece)?;
            room.add_permits(piece.bytes.len().min(MOST_QUEUED));
        }
        self.tell();
        while self.catch_up()? {}
        if self.is_abandoned() { Ok(None) } else { self.frontier.finish().map(Some) }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Hashes some of what came out of order; nothing of what came to nothing, for readers wait to hear that.
    fn catch_up(&mut self) -> io::Result<bool> {
        Ok(!self.is_abandoned() && self.frontier.catch_up()?)
    }

    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let written = Window { start: piece.at, end: piece.at + piece.bytes.len() as u64 };
        self.frontier.write(piece.at, &piece.bytes)?;
        match self.untold.last_mut() {
            Some(last) if last.end == written.start => last.end = written.end,
            _ => self.untold.push(written),
        }
        if self.untold.iter().map(|window| window.len()).sum::<u64>() >= TELL_EVERY {
            self.tell();
        }
        // As fast as it is written at least, however busy the connections are.
        self.catch_up().map(drop)
    }

    fn tell(&mut self) {
        if !self.untold.is_empty() {
            self.fill.present(&self.untold);
            self.untold.clear();
        }
    }
}
