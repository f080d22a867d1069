//! Not faster than so many bytes a second.

use std::time::{Duration, Instant};

/// How many bytes a piece has; at low speeds fewer, so that they trickle.
const PIECE: u64 = 64 << 10;

/// The pace of one connection or body.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    begun: Instant,
    sent: u64,
}

impl Pace {
    /// The slower of both.
    pub(super) fn of(one: Option<u64>, other: Option<u64>) -> Self {
        let bytes_per_second = match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { bytes_per_second, begun: Instant::now(), sent: 0 }
    }

    /// How much may be sent at once.
    pub(super) fn piece(&self) -> u64 {
        self.bytes_per_second.map_or(PIECE, |speed| (speed / 50).clamp(1, PIECE))
    }

    /// Waits until what was sent is not too much.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        let Some(speed) = self.bytes_per_second else { return };
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / speed.max(1));
        std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}
