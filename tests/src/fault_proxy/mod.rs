//! A faulty network in front of a real registry: what a test switches on happens to the requests it names.
//!
//! It speaks HTTP/1.1 without TLS, opens one connection to the registry for each request, and keeps those of its clients
//! open between requests as a registry would. Every exchange is noted with the bytes that were really sent.

mod connection;
mod damage;
mod head;
mod record;
#[cfg(test)]
mod tests;
mod trickle;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

pub use record::Exchange;
use record::Records;

/// What happens to one exchange. Counts are of bytes of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed (FIN) after so many bytes of a longer body.
    Cut(u64),
    /// The connection is reset (RST) after so many bytes.
    Reset(u64),
    /// The answer is whole, and this much shorter than the content is: its length says so.
    Truncate(u64),
    /// Nothing comes after so many bytes; the connection stays open.
    Stall(u64),
    /// One bit of the byte at this place is another.
    Corrupt(u64),
    /// So many bytes a second.
    Slow(u64),
    /// Sent elsewhere, to the same path below this address (`http://127.0.0.1:1`).
    Redirect(String),
    /// The request is taken and never answered.
    Hold,
    /// This status, with an empty body.
    Status(u16),
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// To the next so many requests.
    Next(usize),
    /// Until [`FaultProxy::heal`].
    Always,
}

#[derive(Debug)]
struct Rule {
    method: String,
    part: String,
    left: Option<usize>,
    fault: Fault,
}

/// What its connections share.
#[derive(Debug)]
struct Shared {
    backend: SocketAddr,
    rules: Mutex<Vec<Rule>>,
    /// Bytes a second that one connection carries, whatever the rules say.
    cap: Mutex<Option<u64>>,
    records: Records,
    open: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

/// A running fault proxy; dropped, it ends with all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Listens on a free port of loopback, in front of `backend`.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(backend: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port for a fault proxy")?;
        let address = listener.local_addr().context("a listener without address")?;
        let shared = Arc::new(Shared {
            backend,
            rules: Mutex::default(),
            cap: Mutex::default(),
            records: Records::default(),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the registry is that it stands before.
    pub fn backend(&self) -> SocketAddr {
        self.shared.backend
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has a fault happen to `GET`s whose path holds `part`. Of several rules the oldest that is not used up counts.
    pub fn inject(&self, part: &str, times: Times, fault: Fault) {
        self.inject_to("GET", part, times, fault);
    }

    /// The same for another method.
    pub fn inject_to(&self, method: &str, part: &str, times: Times, fault: Fault) {
        let left = match times {
            Times::Next(times) => Some(times),
            Times::Always => None,
        };
        lock(&self.shared.rules).push(Rule { method: method.to_owned(), part: part.to_owned(), left, fault });
    }

    /// Ends every fault, for the requests that come from now on.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
        *lock(&self.shared.cap) = None;
    }

    /// Has every connection carry at most so many bytes a second, as many object stores do.
    pub fn cap_each_connection(&self, bytes_per_second: u64) {
        *lock(&self.shared.cap) = Some(bytes_per_second);
    }

    /// Every exchange so far, in the order of the requests; those under way too.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.records.all()
    }

    /// Those of contents of a path that holds `part`.
    pub fn gets_of(&self, part: &str) -> Vec<Exchange> {
        let wanted = |exchange: &Exchange| exchange.method == "GET" && exchange.path.contains(part);
        self.exchanges().into_iter().filter(wanted).collect()
    }

    /// Bytes of bodies that were sent of paths that hold `part`.
    pub fn bytes_of(&self, part: &str) -> u64 {
        self.gets_of(part).iter().map(|exchange| exchange.bytes).sum()
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.shared.records.connections()
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            self.records.connected();
            let Ok(ours) = stream.try_clone() else { continue };
            lock(&self.open).push(ours);
            let shared = Arc::clone(self);
            std::thread::spawn(move || {
                // Ends with an error whenever a client leaves, which is a client's right.
                let _: io::Result<()> = connection::serve(&shared, stream);
            });
        }
    }

    /// The fault that happens to this request, which is then used up by one.
    fn fault_of(&self, method: &str, path: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.method == method && path.contains(&rule.part) && rule.left.is_none_or(|left| left > 0))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The connection wakes the thread that accepts; the rest may be closed already.
        let _ = TcpStream::connect(self.address);
        for stream in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
