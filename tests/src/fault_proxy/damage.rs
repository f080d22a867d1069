//! What a fault does to the body of an answer.

use super::Fault;

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As the registry's.
    Whole,
    Cut,
    Reset,
    Silence,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Damage {
    /// Bytes by which the answer is shorter, and says so.
    pub(super) shorter: u64,
    /// Where the body ends early.
    pub(super) until: u64,
    /// The byte that is another.
    pub(super) corrupt: Option<u64>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) ending: Ending,
}

impl Damage {
    pub(super) fn of(fault: Option<&Fault>) -> Self {
        let none = Self { shorter: 0, until: u64::MAX, corrupt: None, bytes_per_second: None, ending: Ending::Whole };
        let ends = |until, ending| Self { until, ending, ..none };
        match fault {
            Some(Fault::Cut(bytes)) => ends(*bytes, Ending::Cut),
            Some(Fault::Reset(bytes)) => ends(*bytes, Ending::Reset),
            Some(Fault::Stall(bytes)) => ends(*bytes, Ending::Silence),
            Some(Fault::Truncate(bytes)) => Self { shorter: *bytes, ..none },
            Some(Fault::Corrupt(at)) => Self { corrupt: Some(*at), ..none },
            Some(Fault::Slow(speed)) => Self { bytes_per_second: Some(*speed), ..none },
            Some(Fault::Redirect(_) | Fault::Hold | Fault::Status(_)) | None => none,
        }
    }
}
