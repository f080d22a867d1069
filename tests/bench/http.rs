//! As much of HTTP/1.1 as pulls need, on both ends.

use std::io;

/// A request of a puller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) is_head: bool,
    pub(crate) path: String,
    /// Start, and the byte after the last.
    pub(crate) range: Option<(u64, u64)>,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) length: Option<u64>,
    pub(crate) closes: bool,
}

impl Request {
    /// Reads the head of a request, and how long it is; none while it is not all there.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let used = match parsed.parse(bytes).map_err(io::Error::other)? {
            httparse::Status::Complete(used) => used,
            httparse::Status::Partial => return Ok(None),
        };
        let range = value_of(parsed.headers, "range").and_then(range);
        let path = parsed.path.unwrap_or_default().to_owned();
        Ok(Some((Self { is_head: parsed.method == Some("HEAD"), path, range }, used)))
    }
}

impl Response {
    /// Reads the head of a response, and how long it is; none while it is not all there.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let used = match parsed.parse(bytes).map_err(io::Error::other)? {
            httparse::Status::Complete(used) => used,
            httparse::Status::Partial => return Ok(None),
        };
        let length = value_of(parsed.headers, "content-length").and_then(|length| length.parse().ok());
        let closes = value_of(parsed.headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Some((Self { status: parsed.code.unwrap_or(0), length, closes }, used)))
    }
}

fn value_of<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}

/// `bytes=a-b` and `bytes=a-`; anything else is as if it were not there, as HTTP allows.
fn range(value: &str) -> Option<(u64, u64)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    let end = if end.is_empty() { u64::MAX } else { end.parse::<u64>().ok()?.checked_add(1)? };
    Some((start.parse().ok()?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_when_they_are_whole() {
        let text = b"GET /v2/a/blobs/x HTTP/1.1\r\nhost: h\r\nRange: bytes=5-9\r\n\r\nGET";
        assert_eq!(Request::parse(&text[..30]).unwrap(), None);
        let (request, used) = Request::parse(text).unwrap().unwrap();
        assert_eq!(request, Request { is_head: false, path: "/v2/a/blobs/x".into(), range: Some((5, 10)) });
        assert_eq!(&text[used..], b"GET");
    }

    #[test]
    fn open_ranges_have_no_end_and_others_are_no_ranges() {
        assert_eq!(range("bytes=7-"), Some((7, u64::MAX)));
        for other in ["bytes=-5", "bytes=1-2,4-5", "lines=1-2", ""] {
            assert_eq!(range(other), None, "{other}");
        }
    }

    #[test]
    fn responses_say_their_length_and_whether_they_are_the_last() {
        let text = b"HTTP/1.1 503 No\r\nContent-Length: 12\r\nConnection: close\r\n\r\n";
        let (response, used) = Response::parse(text).unwrap().unwrap();
        assert_eq!(response, Response { status: 503, length: Some(12), closes: true });
        assert_eq!(used, text.len());
    }
}
