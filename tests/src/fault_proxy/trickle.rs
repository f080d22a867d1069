//! Not faster than so many bytes a second: one connection or body.

use std::time::Instant;

use crate::pace::Pace;

/// How many bytes a piece has; at low speeds fewer, so that they trickle.
const PIECE: u64 = 64 << 10;

/// How fast one of them goes.
#[derive(Debug)]
pub(super) struct Trickle {
    piece: u64,
    pace: Option<Pace>,
}

impl Trickle {
    /// The slower of both.
    pub(super) fn of(one: Option<u64>, other: Option<u64>) -> Self {
        let speed = match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let piece = speed.map_or(PIECE, |speed| (speed / 50).clamp(1, PIECE));
        Self { piece, pace: speed.map(|speed| Pace::new(speed, Instant::now())) }
    }

    /// How much may be sent at once.
    pub(super) fn piece(&self) -> u64 {
        self.piece
    }

    /// Waits until what was sent is not too much.
    pub(super) fn sent(&mut self, bytes: u64) {
        let Some(pace) = &mut self.pace else { return };
        let now = Instant::now();
        pace.reserve(now, bytes);
        std::thread::sleep(pace.reserve(now, 0).saturating_duration_since(now));
    }
}
