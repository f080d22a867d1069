//! The end of a transfer: hashes and writes what arrives, on a thread of its own.
//!
//! Receiving, and hashing with writing, run side by side: a fill is as fast as the slower of the two. The queue between
//! them is bounded, so a slow disk slows the connection rather than filling memory.

use std::{io, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{PullError, fill::Fill};
use crate::{hash::Hasher, store::Partial};

/// Chunks on their way to the disk; a connection's are 8 to 64 KiB.
const QUEUE: usize = 64;
/// Readers hear of progress after so many bytes at most.
const TELL_EVERY: u64 = 256 << 10;

/// The writing end of a fill that comes in order.
#[derive(Debug)]
pub(super) struct Sink {
    chunks: mpsc::Sender<Bytes>,
    thread: JoinHandle<io::Result<Hasher>>,
}

impl Sink {
    /// Starts writing to `partial`, telling `fill` what is there.
    pub(super) fn start(fill: Arc<Fill>, partial: Arc<Partial>) -> Self {
        let (chunks, queue) = mpsc::channel(QUEUE);
        let thread = tokio::task::spawn_blocking(move || write(&fill, &partial, queue));
        Self { chunks, thread }
    }

    /// Hands over the next bytes; `false`: writing failed, `finish` tells why.
    pub(super) async fn push(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Waits until all is written, and gives the hash of it.
    pub(super) async fn finish(self) -> Result<Hasher, PullError> {
        drop(self.chunks);
        let written = self.thread.await.map_err(|_| PullError::Stopped)?;
        Ok(written?)
    }
}

fn write(fill: &Fill, partial: &Partial, mut queue: mpsc::Receiver<Bytes>) -> io::Result<Hasher> {
    let (mut hasher, file) = (Hasher::new(fill.digest.algorithm()), partial.file());
    let (mut at, mut told) = (0, 0);
    while let Some(chunk) = queue.blocking_recv() {
        hasher.update(&chunk);
        file.write_all_at(&chunk, at)?;
        at += chunk.len() as u64;
        // At once when nothing else waits, so that a slow upstream's bytes are not held back.
        if at - told >= TELL_EVERY || queue.is_empty() {
            fill.present(told, at);
            told = at;
        }
    }
    fill.present(told, at);
    Ok(hasher)
}
