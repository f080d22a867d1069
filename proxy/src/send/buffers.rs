//! Buffers for bytes that are copied: a few are kept, so that large bodies cost no allocation a piece.

use std::sync::Mutex;

use bytes::Bytes;

use crate::tasks::lock;

/// Bytes of a buffer: each connection that is slower than we are holds one or two.
pub(crate) const BUFFER: usize = 64 << 10;
/// How many are kept for the next who needs one: 4 MiB.
const MOST_SPARE: usize = 64;

static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer, which is kept for others when it, or the [`Bytes`] made of it, is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
}

impl Buffer {
    /// One with room for `len` bytes, [`BUFFER`] at most; what is in it is left from others.
    pub(crate) fn with_room(len: usize) -> Self {
        let spare = if len > BUFFER / 4 { lock(&SPARE).pop() } else { None };
        let size = if len > BUFFER / 4 { BUFFER } else { len };
        Self { bytes: spare.unwrap_or_else(|| vec![0; size].into()), len: len.min(BUFFER) }
    }

    /// The room.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The first `len` bytes.
    pub(crate) fn filled(mut self, len: usize) -> Bytes {
        self.len = len.min(self.len);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == BUFFER {
            let mut spare = lock(&SPARE);
            if spare.len() < MOST_SPARE {
                spare.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}
