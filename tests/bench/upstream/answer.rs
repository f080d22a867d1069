//! One request, answered.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Behaviour, BlobFault, Reach, Shared, lock};
use crate::content::{Blob, MANIFEST};
use crate::http::Request;
use tidepool_tests::Pace;

/// Bytes a call of sendfile.
const PIECE: u64 = 1 << 20;
/// The same on a throttled link: a quarter of a millisecond at 250 MB/s.
const THROTTLED_PIECE: u64 = 64 << 10;

/// A part of a blob, and where in it trouble lies.
struct Part<'a> {
    blob: &'a Blob,
    at: u64,
    end: u64,
}

impl Shared {
    pub(super) fn answer(&self, stream: &mut TcpStream, request: &Request) -> io::Result<()> {
        let behaviour = *lock(&self.behaviour);
        match behaviour.reach {
            Reach::Silent | Reach::Refused => {
                self.hold();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Reach::Status(status) => return refuse(stream, request, status),
            Reach::Well => {}
        }
        let path = request.path.split('?').next().unwrap_or_default();
        if matches!(path, "/v2" | "/v2/") {
            return send(stream, request, 200, "content-type: application/json\r\n", b"{}");
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return refuse(stream, request, 404) };
        if let Some((repository, _)) = rest.split_once("/manifests/") {
            return self.manifest(stream, request, repository);
        }
        let blob = rest.split_once("/blobs/").and_then(|(_, digest)| self.catalogue.blob(digest));
        match blob {
            Some(blob) => self.blob(stream, request, blob, behaviour),
            None => refuse(stream, request, 404),
        }
    }

    fn manifest(&self, stream: &mut TcpStream, request: &Request, repository: &str) -> io::Result<()> {
        let Some(image) = self.catalogue.in_repository(repository) else { return refuse(stream, request, 404) };
        {
            let mut counts = lock(&self.counts);
            *(if request.is_head { &mut counts.manifest_heads } else { &mut counts.manifest_gets }) += 1;
        }
        let away = lock(&self.behaviour).away;
        std::thread::sleep(away);
        let headers = format!("content-type: {MANIFEST}\r\ndocker-content-digest: {}\r\n", image.digest);
        send(stream, request, 200, &headers, &image.manifest)
    }

    fn blob(&self, stream: &mut TcpStream, request: &Request, blob: &Blob, behaviour: Behaviour) -> io::Result<()> {
        let (start, end) = request.range.map_or((0, blob.size), |(start, end)| (start, end.min(blob.size)));
        if start >= end {
            return refuse(stream, request, 416);
        }
        let mut head = match request.range {
            Some(_) => format!("HTTP/1.1 206 P\r\ncontent-range: bytes {start}-{}/{}\r\n", end - 1, blob.size),
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
        };
        let _ = write!(
            head,
            "content-type: application/octet-stream\r\naccept-ranges: bytes\r\ndocker-content-digest: {0}\r\netag: \"{0}\"\r\ncontent-length: {1}\r\n\r\n",
            blob.digest,
            end - start
        );
        stream.write_all(head.as_bytes())?;
        if request.is_head {
            return Ok(());
        }
        lock(&self.counts).blob_gets += 1;
        self.body(stream, Part { blob, at: start, end }, behaviour)
    }

    fn body(&self, stream: &mut TcpStream, mut part: Part<'_>, behaviour: Behaviour) -> io::Result<()> {
        let blob = part.blob;
        match behaviour.blobs {
            BlobFault::CutOnce | BlobFault::StallOnce => {
                let end = part.end;
                let trouble = blob.size * 3 / 10;
                part.end = end.min(trouble);
                let (at, sent) = (part.at, self.bytes(stream, &mut part, behaviour));
                sent?;
                if at < trouble && trouble < end && !self.struck.swap(true, Ordering::SeqCst) {
                    if behaviour.blobs == BlobFault::StallOnce {
                        self.hold();
                    }
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                part.end = end;
            }
            BlobFault::Wrong if (part.at..part.end).contains(&(blob.size / 2)) => {
                let end = std::mem::replace(&mut part.end, blob.size / 2);
                self.bytes(stream, &mut part, behaviour)?;
                let mut byte = [0];
                blob.file.read_exact_at(&mut byte, part.at)?;
                stream.write_all(&[!byte[0]])?;
                part = Part { blob, at: part.at + 1, end };
            }
            BlobFault::Wrong | BlobFault::None => {}
        }
        self.bytes(stream, &mut part, behaviour)
    }

    fn bytes(&self, stream: &TcpStream, part: &mut Part<'_>, behaviour: Behaviour) -> io::Result<()> {
        let mut own = behaviour.each.map(|rate| Pace::new(rate, Instant::now()));
        let piece = if own.is_some() || behaviour.link.is_some() { THROTTLED_PIECE } else { PIECE };
        while part.at < part.end {
            let count = piece.min(part.end - part.at);
            wait(&mut own, count);
            if behaviour.link.is_some() {
                let at = lock(&self.link).as_mut().map(|pace| pace.reserve(Instant::now(), count));
                std::thread::sleep(at.unwrap_or_else(Instant::now).saturating_duration_since(Instant::now()));
            }
            let wanted = usize::try_from(count).unwrap_or(usize::MAX);
            let sent = rustix::fs::sendfile(stream, &part.blob.file, Some(&mut part.at), wanted)?;
            lock(&self.counts).add_bytes(&part.blob.digest, sent as u64);
            if sent == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

fn wait(pace: &mut Option<Pace>, bytes: u64) {
    if let Some(pace) = pace {
        let now = Instant::now();
        std::thread::sleep(pace.reserve(now, bytes).saturating_duration_since(now));
    }
}

fn refuse(stream: &mut TcpStream, request: &Request, status: u16) -> io::Result<()> {
    let challenge = if status == 401 { "www-authenticate: Basic realm=\"bench\"\r\n" } else { "" };
    let headers = format!("content-type: application/json\r\n{challenge}");
    send(stream, request, status, &headers, b"{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"no\"}]}")
}

fn send(stream: &mut TcpStream, request: &Request, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    if !request.is_head {
        answer.extend_from_slice(body);
    }
    stream.write_all(&answer)
}
