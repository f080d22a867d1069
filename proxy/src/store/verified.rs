//! Which blobs this process found sound from end to end, and what their files looked like then.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::MetadataExt as _,
    sync::Mutex,
};

use tidepool_oci::Digest;

use crate::tasks::lock;

/// Each grows by itself, so that growing holds up few and never needs twice the memory.
const SHARDS: usize = 64;

/// What changes when a file is replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Twelve bytes a blob in a table that is never less than 7/16 full: below 32 bytes a blob.
///
/// A digest is known by its first 16 letters: blobs that share them only make each other be checked again. A stamp is
/// known by a hash of 32 bits: one change in four thousand million would pass for none.
#[derive(Debug)]
pub(super) struct Verified(Box<[Mutex<HashMap<Key, u32>>]>);

/// Two halves, for a table of them needs no padding.
type Key = [u32; 2];

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&file.metadata()?))
    }

    fn short(&self) -> u32 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        u32::try_from(hasher.finish() >> 32).unwrap_or_default()
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Verified {
    /// Whether a file that looks like this was found sound.
    pub(super) fn knows(&self, digest: &Digest, stamp: &Stamp) -> bool {
        let key = key(digest);
        lock(self.shard(key)).get(&key) == Some(&stamp.short())
    }

    pub(super) fn note(&self, digest: &Digest, stamp: &Stamp) {
        self.insert(key(digest), stamp.short());
    }

    fn insert(&self, key: Key, short: u32) {
        lock(self.shard(key)).insert(key, short);
    }

    pub(super) fn forget(&self, digest: &Digest) {
        let key = key(digest);
        lock(self.shard(key)).remove(&key);
    }

    fn shard(&self, key: Key) -> &Mutex<HashMap<Key, u32>> {
        &self.0[usize::try_from(key[0]).unwrap_or_default() % SHARDS]
    }
}

fn key(digest: &Digest) -> Key {
    let word = |at: usize| u32::from_str_radix(&digest.hex()[at..at + 8], 16).unwrap_or_default();
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp { inode, size: 1, modified: (2, 3), changed: (4, 5) }
    }

    fn digest(number: u32) -> Digest {
        format!("sha256:{number:064x}").parse().unwrap()
    }

    #[test]
    fn a_changed_stamp_is_another_file() {
        let verified = Verified::default();
        let (one, other) = (digest(1), format!("sha256:{}", "1".repeat(64)).parse().unwrap());
        verified.note(&one, &stamp(1));
        assert!(verified.knows(&one, &stamp(1)) && !verified.knows(&other, &stamp(1)));
        let first = stamp(1);
        let changed = [
            Stamp { inode: 2, ..first },
            Stamp { size: 2, ..first },
            Stamp { modified: (2, 4), ..first },
            Stamp { changed: (4, 6), ..first },
        ];
        assert!(changed.iter().all(|stamp| !verified.knows(&digest(1), stamp)));
        verified.forget(&digest(1));
        assert!(!verified.knows(&digest(1), &stamp(1)));
    }

    /// A table of the standard library has a power of two of places, each with the entry and one more byte, and is full
    /// at seven eighths of them.
    fn bytes(verified: &Verified) -> usize {
        let places = |capacity: usize| if capacity < 8 { 8 } else { (capacity * 8 / 7).next_power_of_two() };
        let tables = verified.0.iter().map(|shard| places(lock(shard).capacity()));
        tables.map(|places| places * (size_of::<(Key, u32)>() + 1) + 16).sum()
    }

    #[test]
    fn p11_a_million_verified_blobs_take_less_than_32_bytes_each_also_right_after_growing() {
        assert_eq!(size_of::<(Key, u32)>(), 12);
        let (verified, mut grown) = (Verified::default(), 0);
        for number in 0..1_000_000_u32 {
            // Spread over the shards as digests are.
            verified.insert([number.wrapping_mul(2_654_435_761), number], 1);
            let count = usize::try_from(number).unwrap() + 1;
            // Few blobs take little in all; from then on it is counted often enough to meet each growth.
            if count >= 5_000 && count % 997 == 0 {
                let each = bytes(&verified) * 100 / count;
                grown = grown.max(each);
                assert!(each <= 3200, "{count} blobs: {} bytes each", each / 100);
            }
        }
        assert!(grown > 2500, "the worst moment was met: {grown}");
        assert!(bytes(&verified) / 1_000_000 < 32);
    }
}
