//! Reproducible noise: incompressible, the same for one seed on every machine and with every version of a library.

use std::io::{self, Read};

/// A readable stream of so many bytes of noise (SplitMix64).
pub(super) struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    pub(super) fn new(seed: u64, bytes: u64) -> Self {
        Self { state: seed.wrapping_mul(0xD134_2543_DE82_EF95), left: bytes }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for chunk in buffer[..wanted].chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        self.left -= wanted as u64;
        Ok(wanted)
    }
}

/// A seed drawn from a name (FNV-1a).
pub(super) fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
