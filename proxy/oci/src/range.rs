//! Byte ranges: the `Range` header of requests and the `Content-Range` header of answers (RFC 9110, 14).

use std::fmt;

/// How many ranges one request may ask for; more are treated as no range at all. Partial pulls of podman and CRI-O ask for
/// up to 1024 at once.
const MAX_RANGES: usize = 1024;

/// What a `Range: bytes=…` header asks for, in the order it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRanges(Vec<ByteRange>);

/// One range of a `Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both included.
    Bounded {
        /// First byte.
        first: u64,
        /// Last byte, not before `first`.
        last: u64,
    },
    /// `first-`: from there to the end.
    From(u64),
    /// `-length`: that many bytes at the end.
    Suffix(u64),
}

/// A part of a blob that exists: bytes `start..end`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// No range of the request lies within the blob: status 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no byte of the range lies within the {size} bytes there are")]
pub struct Unsatisfiable {
    /// Size of the blob in bytes.
    pub size: u64,
}

impl ByteRanges {
    /// Reads a `Range` header's value. `None`: another unit, malformed, or absurdly many; then the whole is sent.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, list) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let ranges: Vec<_> = list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(ByteRange::parse)
            .collect::<Option<_>>()?;
        (!ranges.is_empty() && ranges.len() <= MAX_RANGES).then_some(Self(ranges))
    }

    /// The ranges, at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.0
    }

    /// The parts of a blob of `size` bytes that are asked for, at least one, in the order of the request.
    ///
    /// # Errors
    /// [`Unsatisfiable`] when none of them holds a byte of the blob.
    pub fn windows(&self, size: u64) -> Result<Vec<Window>, Unsatisfiable> {
        let windows: Vec<_> = self.0.iter().filter_map(|range| range.window(size)).collect();
        if windows.is_empty() { Err(Unsatisfiable { size }) } else { Ok(windows) }
    }
}

impl ByteRange {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => number(last).map(Self::Suffix),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Bounded { first, last })
            }
        }
    }

    /// The part of a blob of `size` bytes that it asks for; `None` when that has none.
    #[must_use]
    pub fn window(self, size: u64) -> Option<Window> {
        let (start, end) = match self {
            Self::Bounded { first, last } => (first, last.saturating_add(1).min(size)),
            Self::From(first) => (first, size),
            Self::Suffix(length) => (size.saturating_sub(length), size),
        };
        (start < end).then_some(Window { start, end })
    }
}

impl Window {
    /// The whole of a blob; `None` when it is empty.
    #[must_use]
    pub fn whole(size: u64) -> Option<Self> {
        (size > 0).then_some(Self { start: 0, end: size })
    }

    /// How many bytes, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a window is never empty")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }
}

/// The value of a `Content-Range` header: `bytes first-last/size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that follow.
    pub window: Window,
    /// Size of the whole.
    pub size: u64,
}

impl ContentRange {
    /// Reads the header's value. `None`: malformed, of unknown size, or it contradicts itself.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, rest) = value.trim().split_once(' ')?;
        let (range, size) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, size) = (number(first.trim())?, number(last.trim())?, number(size.trim())?);
        let sound = unit.eq_ignore_ascii_case("bytes") && first <= last && last < size;
        sound.then(|| Self { window: Window { start: first, end: last + 1 }, size })
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/{}", self.window.start, self.window.end - 1, self.size)
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(header: &str, size: u64) -> Option<Result<Vec<(u64, u64)>, Unsatisfiable>> {
        let ranges = ByteRanges::parse(header)?;
        Some(ranges.windows(size).map(|list| list.into_iter().map(|w| (w.start, w.end)).collect()))
    }

    #[test]
    fn reads_every_form_of_the_rfc() {
        for (header, expected) in [
            ("bytes=0-499", vec![(0, 500)]),
            ("bytes=500-", vec![(500, 1000)]),
            ("bytes=-200", vec![(800, 1000)]),
            ("bytes=-2000", vec![(0, 1000)]),
            ("bytes=0-99999", vec![(0, 1000)]),
            ("Bytes = 0-0 , -1", vec![(0, 1), (999, 1000)]),
            ("bytes=5000-,7-7", vec![(7, 8)]),
        ] {
            assert_eq!(windows(header, 1000), Some(Ok(expected)), "{header}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_unsatisfiable() {
        for header in ["bytes=1000-", "bytes=1000-2000", "bytes=-0"] {
            assert_eq!(windows(header, 1000), Some(Err(Unsatisfiable { size: 1000 })), "{header}");
        }
        assert_eq!(windows("bytes=0-", 0), Some(Err(Unsatisfiable { size: 0 })));
    }

    #[test]
    fn a_header_that_is_no_byte_range_is_as_if_it_were_not_there() {
        let many = format!("bytes={}", "0-0,".repeat(1025));
        for header in ["", "bytes", "bytes=", "bytes=a-b", "bytes=5-4", "items=0-1", "bytes=+1-2", "bytes=1", &many] {
            assert_eq!(ByteRanges::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_content_range_must_agree_with_itself() {
        let range = ContentRange::parse("bytes 2-5/10").unwrap();
        assert_eq!((range.window.start, range.window.end, range.size), (2, 6, 10));
        assert_eq!(range.to_string(), "bytes 2-5/10");
        for text in ["", "bytes 5-2/10", "bytes 0-10/10", "bytes */10", "bytes 0-1/*", "items 0-1/10"] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_window_lies_within_the_blob(header in "bytes=[0-9,\\- ]{0,30}", size in 0u64..2000) {
            if let Some(Ok(list)) = windows(&header, size) {
                prop_assert!(!list.is_empty());
                prop_assert!(list.iter().all(|(start, end)| start < end && *end <= size));
            }
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = ByteRanges::parse(&text);
            let _ = ContentRange::parse(&text);
        }

        #[test]
        fn a_content_range_reads_back(start in 0u64..1000, len in 1u64..1000, more in 0u64..1000) {
            let range = ContentRange { window: Window { start, end: start + len }, size: start + len + more };
            prop_assert_eq!(ContentRange::parse(&range.to_string()), Some(range));
        }
    }
}
