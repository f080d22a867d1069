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
mod tests {
    use super::*;
    use crate::{
        store::blocks::{BLOCK, block_sum},
        tasks::Tasks,
    };
    use prometheus_client::metrics::gauge::Gauge;
    use std::{fs, sync::LazyLock};

    const SIZE: u64 = 3 * BLOCK + 5;

    async fn store(dir: &Path) -> Arc<Store> {
        Store::open(dir.into(), None, Gauge::default(), &Tasks::default()).await.unwrap()
    }

    fn digest() -> Digest {
        crate::hash::digest_of(tidepool_oci::Algorithm::Sha256, &content())
    }

    fn content() -> Vec<u8> {
        static CONTENT: LazyLock<Vec<u8>> =
            LazyLock::new(|| (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect());
        CONTENT.clone()
    }

    fn write(partial: &Partial, block: u64) {
        let part = window(block, SIZE);
        let bytes = &content()[usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap()];
        partial.file().write_all_at(bytes, part.start).unwrap();
        partial.note(block, block_sum(bytes)).unwrap();
    }

    /// A partial of which these blocks are there.
    async fn begun(store: &Store, blocks: &[u64]) -> Partial {
        let partial = store.partial(&digest()).await.unwrap();
        partial.set_size(SIZE).unwrap();
        blocks.iter().for_each(|block| write(&partial, *block));
        partial
    }

    async fn taken_over(store: &Store) -> Vec<u64> {
        let partial = store.partial(&digest()).await.unwrap();
        partial.present().iter().map(|window| window.start / BLOCK).collect()
    }

    fn in_tmp(store: &Store) -> usize {
        fs::read_dir(store.layout.scratch()).unwrap().count()
    }

    #[tokio::test]
    async fn p11_the_next_process_goes_on_with_what_is_there_but_never_takes_over_the_last_block() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path()).await;
        drop(begun(&first, &[0, 2, 3]).await);
        assert_eq!(taken_over(&first).await, [0, 2], "after a failed fill");
        drop(first);
        let next = store(dir.path()).await;
        assert_eq!(taken_over(&next).await, [0, 2], "after a restart");
        let partial = begun(&next, &[1, 3]).await;
        assert_eq!(partial.size(), Some(SIZE));
        next.commit_partial(partial, &digest(), None).await.unwrap();
        assert_eq!(in_tmp(&next), 0);
        assert_eq!(fs::read(next.layout.blob(&digest())).unwrap(), content());
        let sums = fs::read(next.layout.sums(&digest())).unwrap();
        let sums = BlockSums::decode(&digest(), &sums).unwrap();
        assert!((0..4).all(|block| is_block_of(&content(), &sums, block)));
    }

    fn is_block_of(content: &[u8], sums: &BlockSums, block: u64) -> bool {
        let part = window(block, SIZE);
        let bytes = &content[usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap()];
        sums.get(block) == Some(block_sum(bytes))
    }

    #[tokio::test]
    async fn p11_blocks_that_do_not_match_are_not_taken_over() {
        let damages: [fn(&File, &File); 6] = [
            |data, _| data.write_all_at(b"x", BLOCK + 7).unwrap(),
            |data, _| data.write_all_at(&[0; 4096], BLOCK).unwrap(),
            |_, sums| sums.write_all_at(&[1], BlockSums::offset(1)).unwrap(),
            |_, sums| sums.write_all_at(&[0; 8], BlockSums::offset(1)).unwrap(),
            |data, sums| (data.set_len(2 * BLOCK).unwrap(), sums.set_len(0).unwrap()).0,
            |data, _| data.set_len(SIZE - 1).unwrap(),
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let store = store(dir.path()).await;
            drop(begun(&store, &[0, 1, 2]).await);
            let open = |path| File::options().write(true).open(path).unwrap();
            damage(&open(store.layout.fill(&digest())), &open(store.layout.fill_sums(&digest())));
            let left: &[u64] = if number < 4 { &[0, 2] } else { &[] };
            assert_eq!(taken_over(&store).await, left, "damage {number}");
        }
    }

    #[tokio::test]
    async fn another_size_or_another_digest_takes_over_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        drop(begun(&store, &[0, 1]).await);
        let other: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        fs::copy(store.layout.fill(&digest()), store.layout.fill(&other)).unwrap();
        fs::copy(store.layout.fill_sums(&digest()), store.layout.fill_sums(&other)).unwrap();
        assert_eq!(store.partial(&other).await.unwrap().present(), []);
        let partial = store.partial(&digest()).await.unwrap();
        partial.set_size(SIZE + 1).unwrap();
        assert_eq!(partial.present(), []);
        assert!(partial.set_size(u64::MAX).is_err());
        drop(partial);
        assert_eq!(taken_over(&store).await, [0; 0]);
        assert_eq!(in_tmp(&store), 0, "what holds nothing is not left behind");
    }

    #[tokio::test]
    async fn what_begins_anew_does_so_in_another_file_and_who_reads_the_one_before_reads_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        for how in ["forgotten", "of another size", "damaged"] {
            let mut partial = begun(&store, &[0, 1]).await;
            let lent = partial.file();
            match how {
                "forgotten" => partial.forget().unwrap(),
                "damaged" => {
                    File::options().write(true).open(store.layout.fill_sums(&digest())).unwrap().set_len(0).unwrap();
                    drop(partial);
                    partial = store.partial(&digest()).await.unwrap();
                }
                _ => partial.set_size(SIZE + 1).unwrap(),
            }
            let mut read = vec![0; 2 * usize::try_from(BLOCK).unwrap()];
            partial.file().write_all_at(b"other bytes", 0).unwrap();
            lent.read_exact_at(&mut read, 0).unwrap();
            assert!(read == content()[..read.len()], "{how}");
            assert_eq!(
                (partial.present(), partial.size()),
                (Vec::new(), how.contains("size").then_some(SIZE + 1)),
                "{how}"
            );
            partial.set_size(SIZE).unwrap();
            assert_eq!(partial.file().metadata().unwrap().len(), SIZE);
            (0..4).for_each(|block| write(&partial, block));
            store.commit_partial(partial, &digest(), None).await.unwrap();
            assert_eq!(fs::read(store.layout.blob(&digest())).unwrap(), content(), "{how}");
            assert_eq!(in_tmp(&store), 0, "{how}");
        }
    }

    #[tokio::test]
    async fn what_is_there_of_a_blob_stays_where_its_checksums_cannot_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        drop(begun(&store, &[0, 1]).await);
        let (sums, aside) = (store.layout.fill_sums(&digest()), dir.path().join("aside"));
        fs::rename(&sums, &aside).unwrap();
        fs::create_dir(&sums).unwrap();
        assert!(store.partial(&digest()).await.is_err());
        fs::remove_dir(&sums).unwrap();
        fs::rename(&aside, &sums).unwrap();
        assert_eq!(taken_over(&store).await, [0, 1]);
    }

    #[tokio::test]
    async fn wrong_content_goes_and_a_second_partial_of_the_same_blob_lies_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let (first, second) = (begun(&store, &[0]).await, begun(&store, &[1]).await);
        drop(second);
        assert_eq!(in_tmp(&store), 2, "the first one's");
        first.discard();
        drop(first);
        assert_eq!(in_tmp(&store), 0);
        let (first, second) = (begun(&store, &[0]).await, begun(&store, &[0, 1, 2, 3]).await);
        store.commit_partial(second, &digest(), None).await.unwrap();
        assert_eq!(fs::read(store.layout.blob(&digest())).unwrap(), content());
        drop(first);
    }
}
