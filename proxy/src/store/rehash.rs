//! Blobs without checksums, of an older program or after a power loss: hashed from end to end, which makes them.

use std::{fs::File, hash::Hasher as _, io, os::unix::fs::FileExt as _, sync::Arc};

use tidepool_oci::Digest;
use twox_hash::XxHash3_64;

use super::{
    Store, StoredBlob,
    blocks::{BlockSums, block_count, sum_of, window},
    verified::Stamp,
};
use crate::hash::Hasher;

/// Hashing reads in pieces of this size, far above the cost of a system call.
const PIECE: u64 = 256 << 10;

/// A blob that is here, and of which nothing tells whether it is sound.
#[derive(Clone, Debug)]
pub(crate) struct Unchecked {
    /// Its bytes, as they are.
    pub(crate) file: Arc<File>,
    /// How many, if it is whole.
    pub(crate) size: u64,
}

/// The checksums of a file's blocks if it is the digest's content. `progress` hears up to where it was hashed, and may end
/// it.
pub(super) fn measure(
    digest: &Digest,
    file: &File,
    size: u64,
    mut progress: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Option<BlockSums>> {
    let Some(mut sums) = BlockSums::new(size) else { return Ok(None) };
    let (mut whole, mut piece) =
        (Hasher::new(digest.algorithm()), vec![0; usize::try_from(PIECE.min(size)).unwrap_or(0)]);
    for block in 0..block_count(size) {
        let (mut hasher, part) = (XxHash3_64::new(), window(block, size));
        let mut at = part.start;
        while at < part.end {
            let count = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(piece.len());
            file.read_exact_at(&mut piece[..count], at)?;
            whole.update(&piece[..count]);
            hasher.write(&piece[..count]);
            at += count as u64;
            progress(at)?;
        }
        sums.set(block, sum_of(hasher.finish()));
    }
    Ok(whole.matches(digest).then_some(sums))
}

impl Store {
    /// Ends work that may take minutes: the process stops when it has ended.
    pub(super) fn unless_stopping(&self) -> io::Result<()> {
        if self.tasks.are_stopping() { Err(io::Error::other("the proxy is stopping")) } else { Ok(()) }
    }

    /// Hashes a blob from end to end and writes its checksums; `None` when it is damaged, and removed. `progress` hears
    /// up to where it was hashed. Reads all of it: to be called where it may block.
    pub(crate) fn rehash(
        &self,
        digest: &Digest,
        blob: &Unchecked,
        mut progress: impl FnMut(u64),
    ) -> io::Result<Option<StoredBlob>> {
        let before = Stamp::of_file(&blob.file)?;
        let tell = |at| {
            progress(at);
            self.unless_stopping()
        };
        let sums = match measure(digest, &blob.file, blob.size, tell) {
            Ok(sums) => sums,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let Some(sums) = sums else {
            self.remove_damaged(digest, &blob.file);
            return Ok(None);
        };
        if Stamp::of_file(&blob.file)? == before {
            self.opened.verified.note(digest, &before);
            if let Err(error) = self.write_sums(digest, &sums) {
                // A disk that is full or read-only: it is hashed again by the next process.
                tracing::debug!(%digest, %error, "cannot keep the checksums of a blob");
            }
        }
        Ok(self.look_up(digest)?.and_then(|kept| kept.ready()))
    }
}
