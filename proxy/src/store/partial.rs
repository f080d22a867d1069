//! A blob on its way into the store: its bytes so far, and their checksums.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tidepool_oci::{Digest, Window};

use super::{
    Store, blocking,
    blocks::{BlockSums, block_count, window},
    claims::Claim,
    files::{Scratch, ScratchNames},
    layout::Layout,
    resume::resume,
    room::Room,
    unfinished::taken,
};
use crate::tasks::lock;

/// A blob that is being filled. Dropped before it is whole it stays for a later fill, which goes on with it.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Changes its file where it begins anew: the one before may be lent to connections, which send on from it.
    data: Mutex<Scratch>,
    /// The checksums of the blocks that are there.
    sums: Scratch,
    known: Mutex<Option<BlockSums>>,
    discarded: AtomicBool,
    room: Arc<Room>,
    /// None of a second one of the same blob: it lies elsewhere, and nobody resumes it. It is to be dropped
    /// after the files.
    claim: Option<Claim>,
    /// Only then the next process may begin.
    _lock: Arc<File>,
}

impl Store {
    /// Begins a blob, or goes on with what an earlier fill or process left of it.
    pub(crate) async fn partial(&self, digest: &Digest) -> io::Result<Partial> {
        let (layout, names, room) = (self.layout.clone(), self.scratches.clone(), Arc::clone(&self.room));
        let (digest, lock) = (digest.clone(), Arc::clone(&self.lock));
        blocking(move || Partial::open(&layout, &names, room, &digest, lock)).await
    }
}

impl Partial {
    fn open(
        layout: &Layout,
        names: &ScratchNames,
        room: Arc<Room>,
        digest: &Digest,
        held: Arc<File>,
    ) -> io::Result<Self> {
        let claim = room.claims.take(digest);
        if claim.is_some() {
            // From now on the fill's reservation counts it.
            room.removed(taken(&layout.fill(digest)));
        }
        let (data, sums) = match &claim {
            Some(_) => pair(layout, digest)?,
            None => (names.create()?, names.create()?),
        };
        let known = resume(digest, data.file(), sums.file()).unwrap_or_else(|error| {
            tracing::warn!(%digest, %error, "cannot read what is there of a blob: it begins anew");
            None
        });
        let (data, known) = (Mutex::new(data), Mutex::new(known));
        let opened = Self { data, sums, known, discarded: AtomicBool::new(false), room, claim, _lock: held };
        if opened.size().is_none() {
            opened.forget()?;
        }
        Ok(opened)
    }

    /// Where its bytes are; readable and writable, and stays so when it is kept or given up. Another one once this began
    /// anew.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(lock(&self.data).file())
    }

    /// Forgets all that is known of it, its size as well, and begins anew in another file.
    pub(crate) fn forget(&self) -> io::Result<()> {
        self.renew(&mut lock(&self.known))
    }

    fn renew(&self, known: &mut Option<BlockSums>) -> io::Result<()> {
        *known = None;
        self.sums.file().set_len(0)?;
        let mut data = lock(&self.data);
        if data.file().metadata()?.len() > 0 { data.renew() } else { Ok(()) }
    }

    /// How many bytes it will have, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        lock(&self.known).as_ref().map(BlockSums::size)
    }

    /// Says how many bytes it will have. What was there of another size is forgotten. The file is as long from then on,
    /// and takes no room on the disk before bytes come.
    pub(crate) fn set_size(&self, size: u64) -> io::Result<()> {
        let mut known = lock(&self.known);
        if known.as_ref().is_some_and(|known| known.size() == size) {
            return Ok(());
        }
        let fresh = BlockSums::new(size).ok_or(io::ErrorKind::FileTooLarge)?;
        if known.is_some() {
            self.renew(&mut known)?;
        }
        self.file().set_len(size)?;
        if let Some(claim) = &self.claim {
            self.sums.file().write_all_at(&BlockSums::head(claim.digest(), size), 0)?;
        }
        *known = Some(fresh);
        Ok(())
    }

    /// Which bytes are there, in whole blocks: those of an earlier process as well, which were checked.
    pub(crate) fn present(&self) -> Vec<Window> {
        let known = lock(&self.known);
        let Some(known) = known.as_ref() else { return Vec::new() };
        known.there().map(|block| window(block, known.size())).collect()
    }

    /// Notes that a block is there, with its checksum: after its bytes were written.
    pub(crate) fn note(&self, block: u64, sum: u64) -> io::Result<()> {
        let mut known = lock(&self.known);
        let Some(known) = known.as_mut().filter(|known| block < block_count(known.size())) else { return Ok(()) };
        known.set(block, sum);
        if self.claim.is_none() {
            return Ok(());
        }
        self.sums.file().write_all_at(&sum.to_le_bytes(), BlockSums::offset(block))
    }

    /// Gives up what is there: it is not the digest's content. The files go when this is dropped.
    pub(crate) fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }

    /// The checksums, if all blocks of a blob of that many bytes were noted. From then on this is not for a later fill.
    pub(super) fn whole_sums(&self, size: u64) -> Option<BlockSums> {
        lock(&self.known).take().filter(|known| known.size() == size && known.is_whole())
    }

    /// Renames the bytes to their place.
    pub(super) fn publish(&self, place: &Path) -> io::Result<()> {
        lock(&self.data).publish_to(place)
    }

    /// Whether a later fill can go on with it: something is there, and the disk has room for the rest.
    fn is_worth_keeping(&self) -> bool {
        let known = lock(&self.known);
        let Some(known) = known.as_ref().filter(|_| self.claim.is_some()) else { return false };
        let there: u64 = known.there().map(|block| window(block, known.size()).len()).sum();
        let free = rustix::fs::fstatvfs(&*self.file()).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        there > 0 && free >= known.size() - there && !self.discarded.load(Ordering::Relaxed)
    }
}

/// Both files of a blob on its way. Where only one can be opened it stays: nothing says that it is of no use.
fn pair(layout: &Layout, digest: &Digest) -> io::Result<(Scratch, Scratch)> {
    let mut data = Scratch::at(layout.fill(digest))?;
    match Scratch::at(layout.fill_sums(digest)) {
        Ok(sums) => Ok((data, sums)),
        Err(error) => {
            data.keep();
            Err(error)
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.is_worth_keeping() {
            lock(&self.data).keep();
            self.sums.keep();
            self.room.added(self.file().metadata().map_or(0, |meta| meta.blocks() * 512));
        }
    }
}

#[cfg(test)]
mod tests;
