//! Pulls: a request, its answer taken as fast as the machine can, each with the times that matter.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest;
use rustix::net::RecvFlags;

use crate::content::{MANIFEST, name_of};
use crate::http::Response;

/// Most that one call takes from a connection.
const PIECE: usize = 1 << 20;
const HEAD: usize = 16 << 10;

/// What is done with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The kernel drops it: the cheapest client there can be.
    Discard,
    /// It is read and hashed.
    Hash,
}

/// What came of a pull.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    /// 0: no answer.
    pub(crate) status: u16,
    pub(crate) length: Option<u64>,
    pub(crate) bytes: u64,
    /// Of the body, where it was hashed.
    pub(crate) digest: Option<String>,
    /// From the request to the first byte of the body.
    pub(crate) first_byte: Duration,
    /// From the request to the end.
    pub(crate) took: Duration,
    /// What ended it early.
    pub(crate) error: Option<String>,
}

impl Got {
    /// Whether it looks to a client like a success: the right status, and all bytes that were promised.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.status, 200 | 206) && self.error.is_none() && self.length.is_none_or(|all| all == self.bytes)
    }

    /// What it is in a few words.
    pub(crate) fn verdict(&self, digest: &str) -> String {
        match (self.status, self.is_complete()) {
            (0, _) => "no answer".to_owned(),
            (200 | 206, true) if self.digest.as_deref().is_some_and(|found| found != digest) => {
                "wrong bytes".to_owned()
            }
            (200 | 206, true) => "right".to_owned(),
            (200 | 206, false) => "broken body".to_owned(),
            (status, _) => status.to_string(),
        }
    }

    /// Fails unless every byte came.
    pub(crate) fn ensure_complete(self, what: &str) -> Result<Self> {
        ensure!(self.is_complete(), "{what}: {self:?}");
        Ok(self)
    }
}

/// A connection to a registry.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
    patience: Duration,
}

impl Session {
    pub(crate) fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { stream, patience })
    }

    /// Asks for a path, with a range if one is given.
    pub(crate) fn get(&mut self, path: &str, range: Option<(u64, u64)>, reading: Reading) -> Got {
        let range = range.map_or(String::new(), |(start, end)| format!("range: bytes={start}-{}\r\n", end - 1));
        let started = Instant::now();
        let mut got = Got::default();
        let asked = self.stream.write_all(request("GET", path, &range).as_bytes());
        let stream = &self.stream;
        let discard = |buffer: &mut [u8]| {
            let flags = if reading == Reading::Discard { RecvFlags::TRUNC } else { RecvFlags::empty() };
            rustix::net::recv(stream, buffer, flags).map(|(_, count)| count).map_err(io::Error::from)
        };
        let done = asked.and_then(|()| receive(&mut got, stream, discard, reading, started, started + self.patience));
        got.took = started.elapsed();
        got.error = done.err().map(|error| error.to_string());
        got
    }
}

/// A request as text. Ends with an empty line.
pub(crate) fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: bench\r\naccept: {MANIFEST}, */*\r\n{headers}\r\n")
}

/// One pull on a connection of its own.
pub(crate) fn pull(address: SocketAddr, path: &str, reading: Reading, patience: Duration) -> Got {
    match Session::open(address, patience) {
        Ok(mut session) => session.get(path, None, reading),
        Err(error) => Got { error: Some(error.to_string()), ..Got::default() },
    }
}

/// Pulls by so many readers at once, all connected before the first asks; and how long all took.
pub(crate) fn pulls(address: SocketAddr, path: &str, readers: usize, reading: Reading) -> Result<(Vec<Got>, Duration)> {
    let patience = Duration::from_secs(180);
    let sessions: io::Result<Vec<_>> = (0..readers).map(|_| Session::open(address, patience)).collect();
    let (sessions, barrier) = (sessions.context("cannot connect")?, &Barrier::new(readers + 1));
    let (got, took) = std::thread::scope(|scope| {
        let pull = |mut session: Session| {
            scope.spawn(move || {
                barrier.wait();
                session.get(path, None, reading)
            })
        };
        let threads: Vec<_> = sessions.into_iter().map(pull).collect();
        barrier.wait();
        let started = Instant::now();
        let got: Option<Vec<_>> = threads.into_iter().map(|thread| thread.join().ok()).collect();
        (got, started.elapsed())
    });
    Ok((got.context("a reader broke")?, took))
}

/// Reads a response from its first byte; the head by `head`, the body by `body`.
pub(crate) fn receive(
    got: &mut Got,
    mut head: impl Read,
    mut body: impl FnMut(&mut [u8]) -> io::Result<usize>,
    reading: Reading,
    started: Instant,
    deadline: Instant,
) -> io::Result<()> {
    let (mut buffer, mut filled) = (vec![0; HEAD], 0);
    let (response, used) = loop {
        let count = head.read(&mut buffer[filled..])?;
        filled += count;
        match Response::parse(&buffer[..filled])? {
            Some(parsed) => break parsed,
            None if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    };
    (got.status, got.length) = (response.status, response.length);
    let mut hash = (reading == Reading::Hash).then(|| digest::Context::new(&digest::SHA256));
    let mut take = |bytes: &[u8], count: usize| {
        if got.bytes == 0 {
            got.first_byte = started.elapsed();
        }
        got.bytes += count as u64;
        hash.iter_mut().for_each(|hash| hash.update(bytes));
    };
    let mut count = filled - used;
    if count > 0 {
        take(&buffer[used..filled], count);
    }
    let (mut piece, mut sum) = (vec![0; PIECE], count as u64);
    while response.length.is_none_or(|length| sum < length) {
        let wanted = response.length.map_or(PIECE as u64, |length| (length - sum).min(PIECE as u64));
        count = body(&mut piece[..usize::try_from(wanted).unwrap_or(PIECE)])?;
        if count == 0 {
            break;
        }
        take(&piece[..count], count);
        sum += count as u64;
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    got.digest = hash.map(|hash| name_of(hash.finish()));
    if response.length.is_some_and(|length| sum < length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
