//! A blob on its way into the store: its bytes so far, and their checksums.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::{Arc, Mutex},
};

use tidepool_oci::{Digest, Window};

use super::{
    Scratch, Store, blocking,
    blocks::{BlockSums, block_count},
};
use crate::tasks::lock;

/// A blob that is being filled. One process and one fill at a time has it.
#[derive(Debug)]
pub(crate) struct Partial {
    data: Scratch,
    sums: Mutex<Option<BlockSums>>,
}

impl Store {
    /// Begins a blob, or goes on with what an earlier fill or process left of it.
    pub(crate) async fn partial(&self, _digest: &Digest) -> io::Result<Partial> {
        Ok(Partial { data: self.scratch().await?, sums: Mutex::default() })
    }

    /// Keeps a blob whose digest the caller has checked, and all of whose blocks were noted; `origin` is noted of it.
    pub(crate) async fn commit_partial(
        self: &Arc<Self>,
        partial: Partial,
        digest: &Digest,
        origin: Option<String>,
    ) -> io::Result<()> {
        let (store, named) = (Arc::clone(self), digest.clone());
        let Partial { data, sums } = partial;
        blocking(move || {
            let sums = lock(&sums).take().filter(BlockSums::is_whole);
            let Some(sums) = sums else { return Ok(()) };
            let scratch = store.scratches.create()?;
            scratch.file().as_ref().write_all(&sums.encode(&named))?;
            scratch.publish(&store.layout.sums(&named))
        })
        .await?;
        self.commit_blob(data, digest, origin).await
    }
}

impl Partial {
    /// Where its bytes are; readable and writable, and stays so when it is kept or given up.
    pub(crate) fn file(&self) -> &Arc<File> {
        self.data.file()
    }

    /// How many bytes it will have, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        lock(&self.sums).as_ref().map(BlockSums::size)
    }

    /// Says how many bytes it will have. What was there of another size is forgotten.
    pub(crate) fn set_size(&self, size: u64) -> io::Result<()> {
        let mut sums = lock(&self.sums);
        if sums.as_ref().is_none_or(|sums| sums.size() != size) {
            self.file().set_len(size)?;
            *sums = Some(BlockSums::new(size));
        }
        Ok(())
    }

    /// Which bytes are there, in whole blocks: those of an earlier process as well, which were checked.
    pub(crate) fn present(&self) -> Vec<Window> {
        let sums = lock(&self.sums);
        let Some(sums) = sums.as_ref() else { return Vec::new() };
        let there = (0..block_count(sums.size())).filter(|block| sums.get(*block).is_some());
        there.map(|block| super::blocks::window(block, sums.size())).collect()
    }

    /// Notes that a block is there, with its checksum.
    pub(crate) fn note(&self, block: u64, sum: u64) -> io::Result<()> {
        if let Some(sums) = lock(&self.sums).as_mut() {
            sums.set(block, sum);
        }
        Ok(())
    }

    /// Gives up what is there: it is not the digest's content.
    pub(crate) fn discard(self) {
        drop(self);
    }
}
