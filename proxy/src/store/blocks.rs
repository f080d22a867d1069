//! Checksums of a blob's blocks, by which damage is found without hashing the whole (P5).
//!
//! A blob's own hash tells only when all of it has been read. A checksum a block tells before a reader gets that block,
//! after a restart as well, and in a file that is not whole yet it also tells which blocks are there: nothing needs to be
//! synced, for what a power loss tears no longer matches.
//!
//! ```text
//! offset  bytes
//!      0      8  "TPBLOCK1"
//!      8      8  the blob's size in bytes, little endian
//!     16      8  XXH3-64 of the digest's text and those 8 bytes: a file in the wrong place is none, a torn size either
//!     24    8*n  XXH3-64 of each block of 1 MiB, the last may be shorter; 0 where the block is not there
//!   24+8n     8  XXH3-64 of all before it; only of a whole blob
//! ```

use std::{fs::File, hash::Hasher as _, io, os::unix::fs::FileExt as _};

use tidepool_oci::{Digest, Window};
use twox_hash::XxHash3_64;

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 1 << 20;
const MAGIC: [u8; 8] = *b"TPBLOCK1";
/// 16 TiB: no memory is taken for what a torn or invented size says.
const MOST_BLOCKS: usize = 16 << 20;
/// Where the first block's checksum lies.
pub(super) const HEAD: u64 = 24;

/// Reading for a check goes in pieces of this size: many may be under way at once.
const PIECE: usize = 128 << 10;

/// The checksums of one blob's blocks, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSums {
    size: u64,
    sums: Vec<u64>,
}

/// The checksum of a block's bytes; never 0.
#[cfg(test)]
pub(crate) fn block_sum(bytes: &[u8]) -> u64 {
    sum_of(XxHash3_64::oneshot(bytes))
}

/// 0 means that a block is not there.
pub(crate) fn sum_of(hash: u64) -> u64 {
    hash.max(1)
}

/// How many blocks a blob of that many bytes has.
pub(crate) fn block_count(size: u64) -> u64 {
    size.div_ceil(BLOCK)
}

/// The bytes of a block of a blob of that many bytes.
pub(crate) fn window(block: u64, size: u64) -> Window {
    Window { start: block * BLOCK, end: ((block + 1) * BLOCK).min(size) }
}

/// Whether the bytes of a file are those of a block. Read, never mapped: a file cut short meanwhile must do no harm.
pub(super) fn is_block(file: &File, window: Window, sum: u64) -> io::Result<bool> {
    let mut hasher = XxHash3_64::new();
    let mut piece = vec![0; PIECE.min(usize::try_from(window.len()).unwrap_or(PIECE))];
    let mut at = window.start;
    while at < window.end {
        let count = usize::try_from(window.end - at).unwrap_or(PIECE).min(piece.len());
        match file.read_at(&mut piece[..count], at) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                hasher.write(&piece[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum_of(hasher.finish()) == sum)
}

impl BlockSums {
    /// Of a blob of which nothing is there; none of one that is larger than any disk.
    pub(super) fn new(size: u64) -> Option<Self> {
        let count = usize::try_from(block_count(size)).ok().filter(|count| *count <= MOST_BLOCKS)?;
        Some(Self { size, sums: vec![0; count] })
    }

    /// Bytes of the blob.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The checksum of a block; none where it is not there.
    pub(crate) fn get(&self, block: u64) -> Option<u64> {
        let sum = self.sums.get(usize::try_from(block).ok()?)?;
        (*sum != 0).then_some(*sum)
    }

    /// Notes that a block is there.
    pub(crate) fn set(&mut self, block: u64, sum: u64) {
        if let Some(place) = usize::try_from(block).ok().and_then(|block| self.sums.get_mut(block)) {
            *place = sum;
        }
    }

    /// Notes that a block is not there.
    pub(super) fn forget(&mut self, block: u64) {
        self.set(block, 0);
    }

    /// The blocks that are there.
    pub(super) fn there(&self) -> impl Iterator<Item = u64> {
        self.sums.iter().zip(0..).filter(|(sum, _)| **sum != 0).map(|(_, block)| block)
    }

    /// Whether all blocks are there.
    pub(crate) fn is_whole(&self) -> bool {
        !self.sums.contains(&0)
    }

    /// The first bytes of a file of checksums, before those of the blocks.
    pub(super) fn head(digest: &Digest, size: u64) -> Vec<u8> {
        let size = size.to_le_bytes();
        let check = XxHash3_64::oneshot(&[digest.to_string().as_bytes(), &size].concat());
        [MAGIC, size, check.to_le_bytes()].concat()
    }

    /// Where the checksum of a block lies in the file.
    pub(super) fn offset(block: u64) -> u64 {
        HEAD + 8 * block
    }

    /// The file of a blob that is not whole yet.
    pub(super) fn encode_part(&self, digest: &Digest) -> Vec<u8> {
        let mut text = Self::head(digest, self.size);
        self.sums.iter().for_each(|sum| text.extend(sum.to_le_bytes()));
        text
    }

    /// The file of a whole blob.
    pub(super) fn encode(&self, digest: &Digest) -> Vec<u8> {
        let mut text = self.encode_part(digest);
        text.extend(XxHash3_64::oneshot(&text).to_le_bytes());
        text
    }

    /// Reads the file of a whole blob; none where it is torn, or that of another.
    pub(super) fn decode(digest: &Digest, text: &[u8]) -> Option<Self> {
        let (body, check) = text.split_last_chunk::<8>()?;
        let size = u64::from_le_bytes(*body.get(8..)?.first_chunk::<8>()?);
        // Before memory is taken for it.
        if Self::offset(block_count(size)) != body.len() as u64 {
            return None;
        }
        let sums = Self::decode_part(digest, size, body)?;
        (u64::from_le_bytes(*check) == XxHash3_64::oneshot(body) && sums.is_whole()).then_some(sums)
    }

    /// Reads the file of a blob of that many bytes that is not whole yet; none where it is that of another. What it says of
    /// a block is to be believed only when the block matches.
    pub(super) fn decode_part(digest: &Digest, size: u64, text: &[u8]) -> Option<Self> {
        let words = text.strip_prefix(&Self::head(digest, size)[..])?;
        let (words, _) = words.as_chunks::<8>();
        let mut found = Self::new(size)?;
        found.sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = u64::from_le_bytes(*word));
        Some(found)
    }
}

/// What is read from `data` behind a right head, as the file of a part and of a whole blob; and whether it would be written
/// like that.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_sums(digest: &Digest, size: u64, data: &[u8]) -> Vec<(BlockSums, bool)> {
    let text = [&BlockSums::head(digest, size), data].concat();
    let whole = BlockSums::decode(digest, &text).map(|sums| (sums.encode(digest) == text, sums));
    let part = BlockSums::decode_part(digest, size, &text).map(|sums| (true, sums));
    whole.into_iter().chain(part).map(|(same, sums)| (sums, same)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(letter: &str) -> Digest {
        format!("sha256:{}", letter.repeat(64)).parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_a_single_changed_byte_is_noticed() {
        let mut sums = BlockSums::new(2 * BLOCK + 1).unwrap();
        assert!(!sums.is_whole() && sums.get(0).is_none() && sums.get(3).is_none());
        (0..3).for_each(|block| sums.set(block, block_sum(&[u8::try_from(block).unwrap()])));
        let text = sums.encode(&digest("a"));
        assert_eq!(BlockSums::decode(&digest("a"), &text), Some(sums));
        assert_eq!(BlockSums::decode(&digest("b"), &text), None);
        for at in 0..text.len() {
            let mut torn = text.clone();
            torn[at] ^= 1;
            assert_eq!(BlockSums::decode(&digest("a"), &torn), None, "{at}");
            assert_eq!(BlockSums::decode(&digest("a"), &text[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_torn_size_is_none_and_takes_no_memory() {
        let part = BlockSums::head(&digest("a"), 5 * BLOCK);
        assert_eq!(BlockSums::decode_part(&digest("a"), 5 * BLOCK, &part).map(|sums| sums.size()), Some(5 * BLOCK));
        for bit in 0..64 {
            let mut torn = part.clone();
            torn[8 + bit / 8] ^= 1 << (bit % 8);
            let size = u64::from_le_bytes(*torn[8..].first_chunk().unwrap());
            assert_eq!(BlockSums::decode_part(&digest("a"), size, &torn), None, "bit {bit}");
            let right = BlockSums::head(&digest("a"), size);
            assert_eq!(BlockSums::decode(&digest("a"), &[&right[..], &[1; 48]].concat()), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let framed = [&BlockSums::head(&digest("a"), 5 * BLOCK)[..], &text].concat();
            for bytes in [&text, &framed] {
                prop_assert!(BlockSums::decode(&digest("a"), bytes).is_none());
                let part = BlockSums::decode_part(&digest("a"), 5 * BLOCK, bytes);
                prop_assert!(part.is_none_or(|part| part.size() == 5 * BLOCK));
            }
        }
    }
}
