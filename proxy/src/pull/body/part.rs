//! Which part of a blob a response carries, and what stands between its ranges (P7).

use std::vec;

use bytes::Bytes;
use tidepool_oci::{ByteRange, ByteRanges, ContentRange, Digest, Unsatisfiable, Window};

/// The media type of a blob, and of each range of it.
pub(crate) const OCTETS: &str = "application/octet-stream";
/// A boundary has 70 characters at most (RFC 2046, 5.1.1).
const BOUNDARY: usize = 64;

/// Which part of a blob a response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) shape: Shape,
    /// Whether its end waits until the whole is verified (P5): a reader that named the end of every range, and asked for
    /// less than the whole, verifies the whole itself.
    pub(super) held_back: bool,
}

/// How the part is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All of it; may be empty.
    Whole,
    /// One range.
    Range(Window),
    /// Several, each with a head, in the order of the request: clients count on a range for each they asked for.
    Several(Vec<Window>),
}

/// A run of a blob's bytes, and the text before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) head: Bytes,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Part {
    /// All of it.
    pub(crate) const WHOLE: Self = Self { shape: Shape::Whole, held_back: true };

    /// The part that a request's ranges ask for. Ranges that lap over each other until they are more than the whole get
    /// the whole.
    pub(crate) fn of(ranges: Option<&ByteRanges>, size: u64) -> Result<Self, Unsatisfiable> {
        let Some(ranges) = ranges else { return Ok(Self::WHOLE) };
        let windows = ranges.windows(size)?;
        // Those that ask for nothing that there is are not answered, and verify nothing.
        let mut answered = ranges.as_slice().iter().filter(|range| range.window(size).is_some());
        let bounded = answered.all(|range| matches!(range, ByteRange::Bounded { .. }));
        let total = windows.iter().fold(0, |total: u64, window| total.saturating_add(window.len()));
        let shape = match windows.as_slice() {
            [window] => Shape::Range(*window),
            _ if total > size => return Ok(Self::WHOLE),
            _ => Shape::Several(windows),
        };
        Ok(Self { shape, held_back: !bounded || total >= size })
    }

    /// How many bytes the response has.
    pub(crate) fn length(&self, digest: &Digest, size: u64) -> u64 {
        let sections = self.sections(digest, size);
        let bytes = sections.map(|section| section.head.len() as u64 + (section.end - section.start));
        bytes.sum::<u64>() + self.tail(digest).len() as u64
    }

    /// What separates the ranges. No blob holds its own digest.
    pub(crate) fn boundary(digest: &Digest) -> &str {
        let hex = digest.hex();
        &hex[..hex.len().min(BOUNDARY)]
    }

    /// The runs of the blob's bytes, at least one.
    pub(super) fn sections(&self, digest: &Digest, size: u64) -> vec::IntoIter<Section> {
        let bare = |start, end| vec![Section { head: Bytes::new(), start, end }];
        let sections = match &self.shape {
            Shape::Whole => bare(0, size),
            Shape::Range(window) => bare(window.start, window.end),
            Shape::Several(windows) => {
                let with_head = |(index, window): (usize, &Window)| {
                    let (start, end) = (window.start, window.end);
                    Section { head: head(index, *window, digest, size), start, end }
                };
                windows.iter().enumerate().map(with_head).collect()
            }
        };
        sections.into_iter()
    }

    /// The text behind the last byte of the blob.
    pub(super) fn tail(&self, digest: &Digest) -> Bytes {
        match self.shape {
            Shape::Whole | Shape::Range(_) => Bytes::new(),
            Shape::Several(_) => format!("\r\n--{}--\r\n", Self::boundary(digest)).into(),
        }
    }
}

fn head(index: usize, window: Window, digest: &Digest, size: u64) -> Bytes {
    let (line, boundary) = (if index == 0 { "" } else { "\r\n" }, Part::boundary(digest));
    let range = ContentRange { window, size };
    format!("{line}--{boundary}\r\nContent-Type: {OCTETS}\r\nContent-Range: {range}\r\n\r\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(header: &str, size: u64) -> Part {
        Part::of(ByteRanges::parse(header).as_ref(), size).unwrap()
    }

    #[test]
    fn p5_only_ranges_with_ends_that_are_not_the_whole_pass_unverified() {
        for (header, held_back) in [
            ("", true),
            ("bytes=0-", true),
            ("bytes=5-", true),
            ("bytes=-5", true),
            ("bytes=0-99", true),
            ("bytes=0-1000", true),
            ("bytes=0-98", false),
            ("bytes=90-99", false),
            ("bytes=0-1,5-6", false),
            ("bytes=0-1,5-", true),
            ("bytes=0-1,100-", false),
            ("bytes=0-49,50-99", true),
            ("bytes=50-99,0-49", true),
        ] {
            assert_eq!(part(header, 100).held_back, held_back, "{header}");
        }
    }

    #[test]
    fn p7_ranges_stay_as_they_were_asked_for_unless_they_are_more_than_the_whole() {
        let windows = |list: &[(u64, u64)]| list.iter().map(|&(start, end)| Window { start, end }).collect::<Vec<_>>();
        assert_eq!(part("bytes=5-6,0-1,2-3", 100).shape, Shape::Several(windows(&[(5, 7), (0, 2), (2, 4)])));
        assert_eq!(part("bytes=5-6,200-", 100).shape, Shape::Range(Window { start: 5, end: 7 }));
        assert_eq!(part("bytes=0-99,0-0", 100), Part::WHOLE);
        assert!(Part::of(ByteRanges::parse("bytes=100-,200-300").as_ref(), 100).is_err());
    }
}
