//! Small requests, one after the other on each of many connections, from one thread.
//!
//! The thread costs about as much as wrk: two system calls a request and a third that many connections share.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::net::RecvFlags;

use crate::http::Response;
use crate::pull::request;

const HEAD: usize = 16 << 10;

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Storm {
    pub(crate) answers: u64,
    pub(crate) took: Duration,
    pub(crate) p99: Duration,
}

impl Storm {
    pub(crate) fn per_second(&self) -> f64 {
        precise(self.answers) / self.took.as_secs_f64()
    }
}

struct Line {
    stream: TcpStream,
    head: Vec<u8>,
    /// Bytes of the body still to come, once its head was read.
    left: Option<u64>,
    closes: bool,
    asked: Instant,
}

/// A storm in the making.
struct Client {
    address: SocketAddr,
    request: String,
    length: u64,
    scratch: Vec<u8>,
    latencies: Vec<u32>,
}

/// Asks for one path on so many connections for so long. Every answer must be a 200 of `length` bytes.
pub(crate) fn storm(
    address: SocketAddr,
    path: &str,
    length: u64,
    connections: usize,
    lasting: Duration,
) -> Result<Storm> {
    let mut client = Client {
        address,
        request: request("GET", path, ""),
        length,
        scratch: vec![0; 1 << 20],
        latencies: Vec::with_capacity(1 << 18),
    };
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).context("no epoll")?;
    let mut lines = Vec::with_capacity(connections);
    for index in 0..connections {
        lines.push(client.connect(&poll, index as u64)?);
    }
    let started = Instant::now();
    lines.iter_mut().try_for_each(|line| client.ask(line))?;
    let mut events = Vec::with_capacity(connections);
    while started.elapsed() < lasting {
        events.clear();
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        epoll::wait(&poll, spare_capacity(&mut events), Some(&second)).context("epoll fails")?;
        for event in &events {
            let index = event.data.u64();
            let Some(line) = usize::try_from(index).ok().and_then(|index| lines.get_mut(index)) else { continue };
            client.serve(&poll, line, index)?;
        }
    }
    client.finish(started.elapsed())
}

impl Client {
    fn connect(&self, poll: &OwnedFd, index: u64) -> Result<Line> {
        let stream = TcpStream::connect(self.address).context("cannot connect")?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).context("cannot set up a socket")?;
        let data = epoll::EventData::new_u64(index);
        epoll::add(poll, &stream, data, epoll::EventFlags::IN).context("cannot watch a socket")?;
        Ok(Line { stream, head: Vec::with_capacity(HEAD), left: None, closes: false, asked: Instant::now() })
    }

    fn ask(&self, line: &mut Line) -> Result<()> {
        line.asked = Instant::now();
        line.stream.write_all(self.request.as_bytes()).context("cannot send a request")
    }

    /// Takes what is there, and asks again where an answer is whole.
    fn serve(&mut self, poll: &OwnedFd, line: &mut Line, index: u64) -> Result<()> {
        let whole = match self.take(line) {
            Ok(whole) => whole,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("an answer breaks off"),
        };
        if !whole {
            return Ok(());
        }
        self.latencies.push(u32::try_from(line.asked.elapsed().as_micros()).unwrap_or(u32::MAX));
        line.left = None;
        if line.closes {
            *line = self.connect(poll, index)?;
        }
        self.ask(line)
    }

    fn take(&mut self, line: &mut Line) -> io::Result<bool> {
        if line.left.is_none() {
            self.take_head(line)?;
        }
        while let Some(left) = line.left.filter(|left| *left > 0) {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.scratch.len());
            let (_, count) = rustix::net::recv(&line.stream, &mut self.scratch[..wanted], RecvFlags::TRUNC)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.left = Some(left - count as u64);
        }
        Ok(line.left == Some(0))
    }

    fn take_head(&mut self, line: &mut Line) -> io::Result<()> {
        let (_, count) = rustix::net::recv(&line.stream, &mut self.scratch[..HEAD], RecvFlags::empty())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.head.extend_from_slice(&self.scratch[..count]);
        let Some((response, used)) = Response::parse(&line.head)? else { return Ok(()) };
        if response.status != 200 || response.length != Some(self.length) {
            return Err(io::Error::other(format!("unexpected answer {response:?}")));
        }
        line.left = self.length.checked_sub((line.head.len() - used) as u64);
        line.closes = response.closes;
        line.head.clear();
        Ok(())
    }

    fn finish(mut self, took: Duration) -> Result<Storm> {
        ensure!(!self.latencies.is_empty(), "no request was answered in {} ms", took.as_millis());
        let rank = self.latencies.len() * 99 / 100;
        let (_, p99, _) = self.latencies.select_nth_unstable(rank);
        let p99 = Duration::from_micros(u64::from(*p99));
        Ok(Storm { answers: self.latencies.len() as u64, took, p99 })
    }
}

/// A count as a number to divide by; exact up to 2^53, which no count here comes near.
pub(crate) fn precise(count: u64) -> f64 {
    count as f64
}
