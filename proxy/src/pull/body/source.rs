//! Where a response reads a blob's bytes: lent to its connection, or copied.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tidepool_oci::Window;

use super::super::PullError;
use crate::send::{
    Lender,
    buffers::{BUFFER, Buffer},
    pages,
};

/// Sent at once where it is not copied: large, for each piece costs a few system calls; small enough that a connection
/// does not hold a worker for long.
pub(super) const SPAN: u64 = 2 << 20;
/// Up to so many bytes a copy is cheaper than a map of the file.
const WORTH_A_MAP: u64 = 64 << 10;
/// Where ranges have no more than so many bytes, the system calls for each cost more than copies.
const LEAST_LENT: u64 = 16 << 10;

/// How the bytes of one response leave.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// The connection, where it can send from files.
    pub(crate) lender: Option<Lender>,
    /// Bytes sent from files.
    pub(crate) lent: Counter,
    /// Bytes copied.
    pub(crate) copied: Counter,
}

/// An open file of which bytes are sent.
#[derive(Debug)]
pub(super) struct FileSource {
    pub(super) file: Arc<File>,
    lent: Option<Bytes>,
    copied: Counter,
}

impl Way {
    /// The way for so many bytes in so many ranges: many small ones are cheaper copied.
    pub(super) fn of(self, bytes: u64, ranges: usize) -> Self {
        let worth = bytes / (ranges.max(1) as u64) > LEAST_LENT && bytes > WORTH_A_MAP;
        Self { lender: self.lender.filter(|_| worth), ..self }
    }
}

impl FileSource {
    /// Of a blob of `size` bytes; `whole` says that the file has them all.
    pub(super) fn new(file: &Arc<File>, size: u64, whole: bool, way: &Way) -> Self {
        let lent = way.lender.as_ref().and_then(|lender| {
            // Only a file that has its full length already: a fill of unknown size has not.
            let whole = whole || file.metadata().is_ok_and(|meta| meta.len() >= size);
            whole.then(|| lender.lend(file, size, way.lent.clone()).ok())?
        });
        Self { file: Arc::clone(file), lent, copied: way.copied.clone() }
    }

    /// The next bytes from `at` on, `until` at most. The file has them.
    pub(super) async fn piece(&self, at: u64, until: u64) -> Result<Bytes, PullError> {
        let Some(lent) = &self.lent else { return self.copy(at, until).await };
        let end = until.min(at + SPAN);
        pages::bring(&self.file, Window { start: at, end }).await?;
        let place = |at: u64| usize::try_from(at).map_err(io::Error::other);
        Ok(lent.slice(place(at)?..place(end)?))
    }

    async fn copy(&self, at: u64, until: u64) -> Result<Bytes, PullError> {
        let mut buffer = Buffer::with_room(usize::try_from(until - at).unwrap_or(BUFFER));
        let bytes = match pages::read_now(&self.file, buffer.room(), at)? {
            Some(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Some(count) => buffer.filled(count),
            None => {
                let file = Arc::clone(&self.file);
                let read = move || {
                    file.read_exact_at(buffer.room(), at)?;
                    let len = buffer.room().len();
                    Ok::<_, io::Error>(buffer.filled(len))
                };
                tokio::task::spawn_blocking(read).await.map_err(|_| PullError::Stopped)??
            }
        };
        self.copied.inc_by(bytes.len() as u64);
        Ok(bytes)
    }
}
