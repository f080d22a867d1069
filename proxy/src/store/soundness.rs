//! Which blocks of an open blob were found sound (P5).

use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tidepool_oci::Window;

use super::blocks::{BLOCK, BlockSums, block_count, is_block, window};
use crate::tasks::lock;

/// So many blocks of one blob are read at once for a check, however many readers wait for theirs.
const TURNS: usize = 4;

/// A bit a block, and the checksums for as long as some are not set.
#[derive(Debug)]
pub(super) struct Soundness {
    sound: Box<[AtomicU64]>,
    unchecked: AtomicU64,
    sums: Mutex<Option<Arc<BlockSums>>>,
    turns: [Mutex<()>; TURNS],
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Damaged,
    Sound,
    /// Sound, and with that the whole blob is.
    Whole,
}

impl Soundness {
    /// Of a blob that was found sound from end to end.
    pub(super) fn whole() -> Self {
        Self { sound: Box::default(), unchecked: AtomicU64::new(0), sums: Mutex::default(), turns: Default::default() }
    }

    /// Of a blob none of whose blocks was checked yet.
    pub(super) fn unchecked(sums: BlockSums) -> Self {
        let count = block_count(sums.size());
        Self {
            sound: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            unchecked: AtomicU64::new(count),
            sums: Mutex::new(Some(Arc::new(sums))),
            turns: Default::default(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.unchecked.load(Ordering::Acquire) == 0
    }

    /// Whether all blocks that hold these bytes were found sound.
    pub(super) fn covers(&self, bytes: Window) -> bool {
        self.is_whole() || blocks(bytes).all(|block| self.has(block))
    }

    /// Checks the blocks that hold these bytes and were not checked yet.
    pub(super) fn check(&self, file: &File, bytes: Window) -> io::Result<Found> {
        for block in blocks(bytes) {
            match self.check_block(file, block)? {
                Found::Sound => {}
                ended => return Ok(ended),
            }
        }
        Ok(Found::Sound)
    }

    fn check_block(&self, file: &File, block: u64) -> io::Result<Found> {
        // Whoever waits here finds the block checked.
        let _turn = lock(&self.turns[usize::try_from(block).unwrap_or_default() % TURNS]);
        if self.covers(Window { start: block * BLOCK, end: block * BLOCK + 1 }) {
            return Ok(Found::Sound);
        }
        let sums = lock(&self.sums).clone();
        let Some(sums) = sums else { return Ok(Found::Sound) };
        let Some(sum) = sums.get(block) else { return Ok(Found::Damaged) };
        if !is_block(file, window(block, sums.size()), sum)? {
            return Ok(Found::Damaged);
        }
        Ok(self.note(block))
    }

    fn note(&self, block: u64) -> Found {
        let Some((word, bit)) = self.place(block) else { return Found::Damaged };
        let before = word.fetch_or(bit, Ordering::AcqRel);
        if before & bit != 0 || self.unchecked.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Found::Sound;
        }
        *lock(&self.sums) = None;
        Found::Whole
    }

    fn has(&self, block: u64) -> bool {
        self.place(block).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    fn place(&self, block: u64) -> Option<(&AtomicU64, u64)> {
        let word = self.sound.get(usize::try_from(block / 64).ok()?)?;
        Some((word, 1 << (block % 64)))
    }
}

/// The blocks that hold these bytes.
fn blocks(bytes: Window) -> std::ops::Range<u64> {
    bytes.start / BLOCK..block_count(bytes.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blocks::block_sum;
    use std::os::unix::fs::FileExt as _;

    const SIZE: u64 = 70 * BLOCK + 3;

    fn part(start: u64, end: u64) -> Window {
        Window { start, end }
    }

    fn zeros() -> (File, Soundness) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        let mut sums = BlockSums::new(SIZE).unwrap();
        let whole = block_sum(&vec![0; usize::try_from(BLOCK).unwrap()]);
        (0..70).for_each(|block| sums.set(block, whole));
        sums.set(70, block_sum(&[0; 3]));
        (file, Soundness::unchecked(sums))
    }

    #[test]
    fn p5_a_block_is_sound_once_it_was_checked_and_the_last_one_makes_the_whole() {
        let (file, soundness) = zeros();
        assert!(!soundness.covers(part(0, 1)));
        assert_eq!(soundness.check(&file, part(BLOCK - 1, BLOCK + 1)).unwrap(), Found::Sound);
        assert!(soundness.covers(part(0, 2 * BLOCK)) && !soundness.covers(part(0, 2 * BLOCK + 1)));
        assert_eq!(soundness.check(&file, part(2 * BLOCK, SIZE - 3)).unwrap(), Found::Sound);
        assert!(!soundness.is_whole() && !soundness.covers(part(SIZE - 1, SIZE)));
        assert_eq!(soundness.check(&file, part(SIZE - 1, SIZE)).unwrap(), Found::Whole);
        assert!(soundness.is_whole() && soundness.covers(part(0, SIZE)) && lock(&soundness.sums).is_none());
        assert_eq!(soundness.check(&file, part(0, SIZE)).unwrap(), Found::Sound);
    }

    #[test]
    fn p5_any_damage_is_found_in_the_block_it_is_in() {
        for at in [0, BLOCK - 1, BLOCK, 69 * BLOCK + 5, SIZE - 1] {
            let (file, soundness) = zeros();
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(soundness.check(&file, part(at, at + 1)).unwrap(), Found::Damaged, "{at}");
            assert!(!soundness.covers(part(at, at + 1)));
            let other = if at < BLOCK { 5 * BLOCK } else { 0 };
            assert_eq!(soundness.check(&file, part(other, other + 1)).unwrap(), Found::Sound, "{at}");
        }
        let (file, soundness) = zeros();
        file.set_len(SIZE - 1).unwrap();
        assert_eq!(soundness.check(&file, part(0, SIZE)).unwrap(), Found::Damaged, "cut short");
    }
}
