//! Which addresses stand for which file, on one connection.

use std::{
    fs::File,
    io::{self, IoSlice},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use super::map::FileMap;
use crate::tasks::lock;

/// Lends files to one connection. Clones share its regions; a request carries one among its extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lender(Arc<Mutex<Vec<Region>>>);

/// Addresses that stand for the bytes of a file, from its first on.
#[derive(Debug)]
struct Region {
    start: usize,
    len: usize,
    file: Arc<File>,
    sent: Counter,
}

/// A part of a file that is to be sent.
#[derive(Debug)]
pub(super) struct Loan {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Counts what was sent of it without a copy.
    pub(super) sent: Counter,
}

/// What comes first in a list of slices.
#[derive(Debug)]
pub(super) enum First {
    /// So many slices of memory, with something lent behind them or not.
    Memory {
        slices: usize,
        lent_next: bool,
    },
    Lent(Loan),
}

/// Keeps a region for as long as any slice of it lives: hyper may hold some when the body is gone.
struct Lease {
    map: FileMap,
    lender: Lender,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self.map.as_ref()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the addresses are free for another region.
        lock(&self.lender.0).retain(|region| region.start != self.map.start());
    }
}

impl Lender {
    /// The first `len` bytes of `file`, which has them; `sent` counts those that leave without a copy.
    pub(crate) fn lend(&self, file: &Arc<File>, len: u64, sent: Counter) -> io::Result<Bytes> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let map = FileMap::of(file, len)?;
        lock(&self.0).push(Region { start: map.start(), len, file: Arc::clone(file), sent });
        Ok(Bytes::from_owner(Lease { map, lender: self.clone() }))
    }

    /// What to do first to write `slices`.
    pub(super) fn first(&self, slices: &[IoSlice<'_>]) -> First {
        let regions = lock(&self.0);
        if regions.is_empty() {
            return First::Memory { slices: slices.len(), lent_next: false };
        }
        let region_of = |slice: &IoSlice<'_>| {
            let at = slice.as_ptr().addr();
            regions.iter().find(|region| !slice.is_empty() && (region.start..region.start + region.len).contains(&at))
        };
        let Some((index, region)) = slices.iter().enumerate().find_map(|(at, it)| Some((at, region_of(it)?))) else {
            return First::Memory { slices: slices.len(), lent_next: false };
        };
        if slices[..index].iter().any(|slice| !slice.is_empty()) {
            return First::Memory { slices: index, lent_next: true };
        }
        let start = slices[index].as_ptr().addr();
        let follows = |end: usize, slice: &IoSlice<'_>| (slice.as_ptr().addr() == end).then_some(end + slice.len());
        let mut end = start + slices[index].len();
        for slice in &slices[index + 1..] {
            let Some(next) = follows(end, slice).filter(|next| *next <= region.start + region.len) else { break };
            end = next;
        }
        let offset = (start - region.start) as u64;
        First::Lent(Loan { file: Arc::clone(&region.file), offset, len: end - start, sent: region.sent.clone() })
    }
}
