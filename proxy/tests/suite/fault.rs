//! How a fake registry's answers go wrong.

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tidepool_oci::ByteRanges;
use tokio::sync::watch;

/// How an answer goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Another status, without a body.
    Status(u16),
    /// Another status, with a header.
    With(u16, &'static str, String),
    /// 200 with that JSON, whatever was asked for.
    Json(&'static str),
    /// A redirect.
    Redirect(String),
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The body goes no further than so many bytes, and the connection stays.
    Stall(usize),
    /// No answer at all.
    Silent,
    /// Other bytes of the same length.
    WrongBytes,
    /// Fewer bytes, and a length that says so.
    Short(usize),
    /// No more than so many bytes of the range.
    AtMost(usize),
    /// Chunked, without a length.
    NoLength,
    /// The same, and the connection breaks after so many bytes.
    NoLengthCut(usize),
    /// The same, and the whole, whatever range was asked for.
    NoLengthNoRange,
    /// The whole, whatever range was asked for.
    IgnoreRange,
    /// So many milliseconds before the answer.
    Late(u64),
    /// A page for people, whatever was asked for.
    Page,
    /// So many milliseconds before each of ten pieces.
    Slow(u64),
    /// A little at a time until told otherwise, and then the rest.
    Trickle(watch::Receiver<bool>),
    /// With these headers besides.
    Plus(&'static [(&'static str, &'static str)]),
    /// So many bytes in ten milliseconds, on each connection.
    Paced(usize),
    /// Without this header.
    Without(&'static str),
}

pub(crate) fn status(code: u16) -> Response {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

pub(crate) fn deliver(
    head: bool,
    digest: &str,
    bytes: Bytes,
    kind: &str,
    range: Option<&str>,
    fault: Option<&Fault>,
) -> Response {
    let size = bytes.len();
    let mut bytes = match fault {
        Some(Fault::WrongBytes) => Bytes::from(bytes.iter().map(|byte| !byte).collect::<Vec<_>>()),
        Some(Fault::Short(len)) => bytes.slice(..*len),
        _ => bytes,
    };
    let mut response = Response::builder().header("content-type", kind);
    if !matches!(fault, Some(Fault::IgnoreRange | Fault::NoLengthNoRange | Fault::Without("accept-ranges"))) {
        response = response.header("accept-ranges", "bytes");
    }
    if !matches!(fault, Some(Fault::Without("docker-content-digest"))) {
        response = response.header("docker-content-digest", digest);
    }
    if let Some(Fault::Plus(headers)) = fault {
        response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    }
    let window = range
        .filter(|_| !matches!(fault, Some(Fault::IgnoreRange | Fault::NoLengthNoRange)))
        .and_then(ByteRanges::parse);
    if let Some(window) = window.map(|ranges| ranges.windows(size as u64).unwrap()[0]) {
        let (start, end) = (usize::try_from(window.start).unwrap(), usize::try_from(window.end).unwrap());
        let end = if let Some(Fault::AtMost(most)) = fault { end.min(start + most) } else { end };
        bytes = bytes.slice(start..end);
        let value = format!("bytes {start}-{}/{size}", end - 1);
        response = response.status(206).header("content-range", value);
    }
    if !matches!(fault, Some(Fault::NoLength | Fault::NoLengthCut(_) | Fault::NoLengthNoRange)) {
        response = response.header("content-length", bytes.len());
    }
    let body = if head { Body::empty() } else { broken(bytes, fault) };
    response.body(body).unwrap()
}

fn broken(bytes: Bytes, fault: Option<&Fault>) -> Body {
    let first = |len: usize| bytes.slice(..bytes.len().min(len));
    match fault {
        Some(Fault::Cut(len) | Fault::NoLengthCut(len)) => {
            // A pause, for an error that follows at once would take bytes with it that are still on their way out.
            let cut = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            };
            Body::from_stream(pieces(&first(*len), 64 << 10).chain(futures::stream::once(cut)))
        }
        Some(Fault::Stall(len)) => Body::from_stream(pieces(&first(*len), 64 << 10).chain(futures::stream::pending())),
        Some(Fault::NoLength | Fault::NoLengthNoRange) => {
            Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(bytes)]))
        }
        Some(Fault::Slow(pause)) => {
            let pause = *pause;
            let piece = bytes.len().div_ceil(10).max(1);
            let pieces: Vec<_> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
            Body::from_stream(futures::stream::iter(pieces).then(move |piece| async move {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                Ok::<_, std::io::Error>(piece)
            }))
        }
        Some(Fault::Trickle(told)) => Body::from_stream(trickle(bytes.clone(), told.clone())),
        Some(Fault::Paced(piece)) => {
            let clock = tokio::time::interval(Duration::from_millis(10));
            let paced = pieces(&bytes, *piece).zip(futures::stream::unfold(clock, |mut clock| async move {
                clock.tick().await;
                Some(((), clock))
            }));
            Body::from_stream(paced.map(|(piece, ())| piece))
        }
        _ => Body::from_stream(pieces(&bytes, 64 << 10)),
    }
}

fn trickle(
    bytes: Bytes,
    told: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    futures::stream::unfold((bytes, told), |(mut rest, mut told)| async move {
        if rest.is_empty() {
            return None;
        }
        let all = tokio::time::timeout(Duration::from_millis(200), told.wait_for(|told| *told)).await.is_ok();
        let piece = rest.split_to(if all { rest.len() } else { rest.len().min(1000) });
        Some((Ok(piece), (rest, told)))
    })
}

fn pieces(bytes: &Bytes, len: usize) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let bytes = bytes.clone();
    let starts = (0..bytes.len()).step_by(len);
    futures::stream::iter(starts.map(move |at| Ok(bytes.slice(at..bytes.len().min(at + len)))))
}
