//! The file of a fill: what is written of it, the hash that follows the frontier, and the checksums of its blocks.
//!
//! Bytes that come in order are hashed from memory as they pass, so a fill by one connection reads nothing back. What
//! came out of order is read back, from the page cache as a rule, once the frontier gets there. Likewise a block that
//! one connection sent from its first byte to its last is summed as it passes; any other is read back when it is whole.

use std::{collections::HashMap, hash::Hasher as _, io, os::unix::fs::FileExt as _, sync::Arc};

use tidepool_oci::{Digest, Window};
use twox_hash::XxHash3_64;

use super::segments::SegmentMap;
use crate::{
    hash::Hasher,
    store::{BLOCK, Partial, sum_of},
};

/// Read back at once.
const PIECE: u64 = 256 << 10;
/// Blocks that are summed as they pass: more than a fill has connections.
const MOST_PASSING: usize = 16;

/// Writes a fill's bytes, whatever their order, and knows how far they are hashed.
pub(super) struct Frontier {
    partial: Arc<Partial>,
    size: Option<u64>,
    present: SegmentMap,
    hasher: Hasher,
    hashed: u64,
    passing: HashMap<u64, Passing>,
    /// Of blocks that were whole before the size was known.
    early: Vec<(u64, u64)>,
    piece: Vec<u8>,
}

/// A block on its way: the sum of its first bytes.
struct Passing {
    sum: XxHash3_64,
    at: u64,
}

impl Frontier {
    /// Of a fill that has `present` already.
    pub(super) fn new(digest: &Digest, partial: Arc<Partial>, present: SegmentMap) -> Self {
        Self {
            size: partial.size(),
            hasher: Hasher::new(digest.algorithm()),
            hashed: 0,
            passing: HashMap::new(),
            early: Vec::new(),
            piece: Vec::new(),
            partial,
            present,
        }
    }

    /// Writes bytes that were not there: others in the place of such as are hashed already would pass for them.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let end = at + bytes.len() as u64;
        if self.present.end_from(at) > at || self.present.next_after(at).is_some_and(|next| next < end) {
            return Err(io::Error::other("bytes that are there already"));
        }
        if at == self.hashed {
            self.hasher.update(bytes);
            self.hashed = end;
        }
        self.partial.file().write_all_at(bytes, at)?;
        self.present.add(at, end);
        self.sum(at, bytes)
    }

    /// Hashes some of what came out of order and is next; says whether there was any.
    pub(super) fn catch_up(&mut self) -> io::Result<bool> {
        let len = (self.present.end_from(self.hashed) - self.hashed).min(PIECE);
        if len == 0 {
            return Ok(false);
        }
        let piece = read(&self.partial, &mut self.piece, self.hashed, len)?;
        self.hasher.update(piece);
        self.hashed += len;
        Ok(true)
    }

    /// Ends where all has come and is hashed; gives the hash, and of how many bytes it is.
    pub(super) fn finish(mut self) -> io::Result<(Hasher, u64)> {
        if self.size.is_none() {
            self.partial.set_size(self.hashed)?;
            if let Some(last) = self.passing.remove(&(self.hashed / BLOCK)).filter(|last| last.at == self.hashed) {
                self.early.push((self.hashed / BLOCK, sum_of(last.sum.finish())));
            }
            self.early.iter().try_for_each(|(block, sum)| self.partial.note(*block, *sum))?;
        }
        Ok((self.hasher, self.hashed))
    }

    fn sum(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (block, left) = (at / BLOCK, BLOCK - at % BLOCK);
            let (now, later) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            self.sum_in_block(block, at, now)?;
            (at, bytes) = (at + now.len() as u64, later);
        }
        Ok(())
    }

    fn sum_in_block(&mut self, block: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let window = Window { start: block * BLOCK, end: ((block + 1) * BLOCK).min(self.size.unwrap_or(u64::MAX)) };
        if at == window.start && (self.passing.len() < MOST_PASSING || self.passing.contains_key(&block)) {
            self.passing.insert(block, Passing { sum: XxHash3_64::new(), at });
        }
        let end = at + bytes.len() as u64;
        let passed = match self.passing.get_mut(&block).filter(|passing| passing.at == at) {
            Some(passing) => {
                passing.sum.write(bytes);
                passing.at = end;
                (end == window.end).then(|| passing.sum.finish())
            }
            None => None,
        };
        let sum = match passed {
            Some(sum) => sum,
            None if self.present.covers(window.start, window.end) => self.sum_of_written(window)?,
            None => return Ok(()),
        };
        self.passing.remove(&block);
        self.note(block, sum_of(sum))
    }

    /// The sum of a block that came in parts.
    fn sum_of_written(&mut self, window: Window) -> io::Result<u64> {
        let (mut sum, mut at) = (XxHash3_64::new(), window.start);
        while at < window.end {
            let len = (window.end - at).min(PIECE);
            sum.write(read(&self.partial, &mut self.piece, at, len)?);
            at += len;
        }
        Ok(sum.finish())
    }

    fn note(&mut self, block: u64, sum: u64) -> io::Result<()> {
        if self.size.is_some() {
            return self.partial.note(block, sum);
        }
        self.early.push((block, sum));
        Ok(())
    }
}

fn read<'a>(partial: &Partial, piece: &'a mut Vec<u8>, at: u64, len: u64) -> io::Result<&'a [u8]> {
    piece.resize(usize::try_from(PIECE).map_err(io::Error::other)?, 0);
    let part = &mut piece[..usize::try_from(len).map_err(io::Error::other)?];
    partial.file().read_exact_at(part, at)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hash::digest_of, store::Store, tasks::Tasks};
    use prometheus_client::metrics::gauge::Gauge;
    use proptest::prelude::*;
    use std::{path::Path, sync::OnceLock};
    use tidepool_oci::Algorithm;

    const SIZE: u64 = 3 * BLOCK + 70_000;

    fn content() -> &'static [u8] {
        static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
        CONTENT.get_or_init(|| (0..SIZE).map(|at| u8::try_from((at * at / 7) % 251).unwrap()).collect())
    }

    fn part(start: u64, end: u64) -> &'static [u8] {
        &content()[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]
    }

    /// Writes these windows, in this order, into a partial; keeps it, and says how often it had to read back.
    async fn fill(dir: &Path, windows: &[Window], sized: bool) -> bool {
        let store = Store::open(dir.into(), None, Gauge::default(), &Tasks::default()).await.unwrap();
        let digest = digest_of(Algorithm::Sha256, content());
        let partial = Arc::new(store.partial(&digest).await.unwrap());
        if sized {
            partial.set_size(SIZE).unwrap();
        }
        let mut frontier = Frontier::new(&digest, Arc::clone(&partial), SegmentMap::default());
        for window in windows {
            frontier.write(window.start, part(window.start, window.end)).unwrap();
        }
        let read_back = !frontier.piece.is_empty();
        while frontier.catch_up().unwrap() {}
        let (hasher, hashed) = frontier.finish().unwrap();
        assert!(hashed == SIZE && hasher.matches(&digest));
        let present = partial.present();
        assert_eq!(present.iter().map(|window| window.len()).sum::<u64>(), SIZE, "all blocks are noted");
        store.commit_partial(Arc::try_unwrap(partial).unwrap(), &digest, None).await.unwrap();
        let kept = store.blob(&digest).await.unwrap();
        assert!(kept.check(Window { start: 0, end: SIZE }).unwrap(), "by their own sums they are sound");
        read_back
    }

    fn windows(cuts: &[u64]) -> Vec<Window> {
        let mut edges: Vec<_> = cuts.iter().copied().filter(|at| *at < SIZE).chain([0, SIZE]).collect();
        edges.sort_unstable();
        edges.dedup();
        edges.windows(2).map(|pair| Window { start: pair[0], end: pair[1] }).collect()
    }

    #[tokio::test]
    async fn what_comes_in_order_is_never_read_back_and_lines_that_keep_to_blocks_once() {
        let pieces = windows(&(0..200).map(|number| number * 16_001).collect::<Vec<_>>());
        for sized in [true, false] {
            assert!(!fill(tempfile::tempdir().unwrap().path(), &pieces, sized).await);
        }
        let (mut one, mut other) = (pieces[..66].to_vec(), pieces[66..].to_vec());
        one.reverse();
        other.append(&mut one);
        assert!(fill(tempfile::tempdir().unwrap().path(), &other, true).await);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn in_whatever_order_bytes_come_they_are_hashed_and_summed_right(
            pieces in proptest::collection::vec(0..SIZE, 0..24).prop_map(|cuts| windows(&cuts)).prop_shuffle(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(fill(tempfile::tempdir().unwrap().path(), &pieces, true));
        }
    }
}
