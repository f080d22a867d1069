//! How an upstream may behave.

use std::time::Duration;

/// Whether and how requests are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As they should be.
    #[default]
    Well,
    /// Connections are refused.
    Refused,
    /// Connections are accepted, and nothing is ever said.
    Silent,
    /// Every request gets this status.
    Status(u16),
}

/// What happens to blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BlobFault {
    /// Nothing.
    #[default]
    None,
    /// The first response breaks off at 30 %.
    CutOnce,
    /// The first response stands still at 30 %.
    StallOnce,
    /// A byte in the middle of each is another.
    Wrong,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    pub(crate) reach: Reach,
    pub(crate) blobs: BlobFault,
    /// Bytes a second of all connections together.
    pub(crate) link: Option<u64>,
    /// Bytes a second of each connection.
    pub(crate) each: Option<u64>,
    /// How long a manifest takes to be answered.
    pub(crate) away: Duration,
}

impl Behaviour {
    pub(crate) fn reach(reach: Reach) -> Self {
        Self { reach, ..Self::default() }
    }

    pub(crate) fn blobs(blobs: BlobFault) -> Self {
        Self { blobs, ..Self::default() }
    }

    /// A link of so many megabytes a second.
    pub(crate) fn link(megabytes: u64) -> Self {
        Self { link: Some(megabytes * 1_000_000), ..Self::default() }
    }

    /// So many megabytes a second for each connection.
    pub(crate) fn each(megabytes: u64) -> Self {
        Self { each: Some(megabytes * 1_000_000), ..Self::default() }
    }
}
