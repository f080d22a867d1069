//! How much is measured.

use std::time::Duration;

use crate::table::Who;

/// A mebibyte.
pub(crate) const MIB: u64 = 1 << 20;
/// A gibibyte.
pub(crate) const GIB: u64 = 1 << 30;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Size {
    /// What the README shows: a quarter of an hour
    Full,
    /// A look: small blobs, few samples
    Quick,
    /// Whether the benchmark works at all: seconds, its figures mean nothing
    Smoke,
}

/// The numbers behind a [`Size`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) size: Size,
    /// Samples of the product and of what its bars are relative to.
    pub(crate) samples: usize,
    /// Samples of rivals that take long.
    pub(crate) few: usize,
    /// Bytes of the blob that stands for a layer of 1 GiB.
    pub(crate) large: u64,
    /// Bytes of the blob for the herd and the faults.
    pub(crate) medium: u64,
    /// Bytes of the blob whose fill must not cost memory.
    pub(crate) huge: u64,
    /// Readers of the hot rows.
    pub(crate) readers: [usize; 3],
    /// How long small requests are counted.
    pub(crate) storm: Duration,
    /// Blobs in the store of the start rows.
    pub(crate) stored: &'static [u32],
    /// Whether rivals are shown the faults; some take their time to fail.
    pub(crate) rivals_meet_faults: bool,
    /// When a hanging answer is given up.
    pub(crate) patience: Duration,
}

impl Scale {
    /// How many samples somebody gets.
    pub(crate) fn samples_of(&self, who: Who) -> usize {
        if matches!(who, Who::NginxCache | Who::Distribution) { self.few } else { self.samples }
    }
}

impl Size {
    pub(crate) fn scale(self) -> Scale {
        match self {
            Self::Full => Scale {
                size: self,
                samples: 5,
                few: 3,
                large: GIB,
                medium: 100 * MIB,
                huge: 4 * GIB,
                readers: [1, 8, 64],
                storm: Duration::from_millis(1200),
                stored: &[1_000_000],
                rivals_meet_faults: true,
                patience: Duration::from_secs(20),
            },
            Self::Quick => Scale {
                size: self,
                samples: 3,
                few: 1,
                large: 128 * MIB,
                medium: 100 * MIB,
                huge: GIB,
                readers: [1, 8, 64],
                storm: Duration::from_millis(700),
                stored: &[100_000],
                rivals_meet_faults: false,
                patience: Duration::from_secs(20),
            },
            Self::Smoke => Scale {
                size: self,
                samples: 1,
                few: 1,
                large: 8 * MIB,
                medium: 4 * MIB,
                huge: 16 * MIB,
                readers: [1, 2, 4],
                storm: Duration::from_millis(50),
                stored: &[100],
                rivals_meet_faults: false,
                patience: Duration::from_secs(20),
            },
        }
    }
}

/// Bytes as people say them.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        GIB.. => format!("{} GiB", count / GIB),
        MIB.. => format!("{} MiB", count / MIB),
        _ => format!("{count} bytes"),
    }
}

/// A count with its thousands apart.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_easy_to_read() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (97_300, "97,300"), (1_000_000, "1,000,000")] {
            assert_eq!(grouped(count), text);
        }
        assert_eq!((bytes(GIB), bytes(100 * MIB), bytes(5)), ("1 GiB".into(), "100 MiB".into(), "5 bytes".into()));
    }
}
