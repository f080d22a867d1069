//! Addresses that stand for a file's bytes. The only unsafe code of the proxy.
//!
//! **Why it is sound.** What makes a map of a file unsafe is that the file may change, or shrink, beneath a `&[u8]` that
//! somebody reads: reading then gives torn values, or `SIGBUS`. Here nobody reads through the map:
//! - [`super::Lender`] hands out slices of it as `Bytes`; these go from a body through hyper's queue of vectors into
//!   [`super::Outlet`], which takes of them the address and the length and sends from the file itself. hyper copies bytes
//!   only for streams that write no vectors: `Outlet` says that it does, and other streams have no `Lender`.
//! - Where the kernel cannot `sendfile`, `Outlet` reads the file, not the map.
//! - Should somebody read all the same, it is memory that is mapped: a file has its full length before it is lent, and is
//!   from then on removed or replaced by another, never cut short. A kept blob is never written again. The file of a fill
//!   is written while it is lent, but bodies hand out only what was written before. So only another program that writes
//!   to the store's files, or truncates them, could then do harm.

use std::{fs::File, io};

use memmap2::{Mmap, MmapOptions};

/// A file's bytes, as addresses.
#[derive(Debug)]
pub(super) struct FileMap(Mmap);

impl FileMap {
    /// Of the first `len` bytes of a file, which has them.
    pub(super) fn of(file: &File, len: usize) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "see the module's text: nobody reads through it")]
        // SAFETY: the addresses are compared and never read, as the module's text says.
        let map = unsafe { MmapOptions::new().len(len).map(file) }?;
        Ok(Self(map))
    }

    /// The first address.
    pub(super) fn start(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
