//! The fault matrix: what its cells hold, whether they keep the promise, and how they are shown.
//!
//! The promise (design §6): no state of Tidepool makes a pull fail that would have succeeded on a node without it, or
//! makes it slower than 1.2 times such a node's and two seconds; and what the cache keeps is had when upstream is gone. A
//! pull that fails on both nodes may go on for as long as the mirror gives it contents.

mod table;
mod verdict;

use std::time::Duration;

pub use table::{Row, table, version};
pub use verdict::{Verdict, judge};

use crate::Containerd;

/// When the fault strikes, and what is pulled then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Contents that nobody pulled before, once the fault is there.
    Cold,
    /// Contents that the mirror keeps, once the fault is there.
    Warm,
    /// Contents that nobody pulled before; the fault comes in the middle.
    Running,
}

impl Pull {
    /// All of them, in the order in which they are made and shown.
    pub const ALL: [Self; 3] = [Self::Cold, Self::Warm, Self::Running];

    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Running => "running",
        }
    }
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The node has the image, after so long.
    Pulled(Duration),
    /// The runtime gave up, after so long.
    Failed(Duration),
    /// It was given up after so long.
    Hung(Duration),
}

/// What must be true of a state beside the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Every byte comes through the mirror: the state does not touch it.
    Mirror,
    /// A member is left: more than half of what is kept, or on its way, comes through the mirror.
    Half,
    /// The mirror is used or gone around, whatever is quicker.
    Either,
    /// Upstream is touched: the plain node's pull fails, and one that began before may.
    UpstreamGone,
    /// Outside the promise, and bounded all the same: so much longer than the plain node.
    Outside(Duration),
}

/// One pull by a node with Tidepool, and the same at the same time by a node without it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Version of both nodes' runtime.
    pub runtime: Containerd,
    /// What was pulled.
    pub pull: Pull,
    /// How it went with Tidepool.
    pub with: Outcome,
    /// How it went without.
    pub plain: Outcome,
    /// What part of the layers did not come from upstream straight to the node with Tidepool: 0 to 1.
    pub through: f64,
    /// What the link takes for the bytes that the node with Tidepool received: that long it did not wait.
    pub carried: Duration,
    /// How long a plain node's pull takes with nothing broken: what one is measured by that has no pull beside it.
    pub usual: Duration,
}
