//! Servers in the way between a node and a member: `tidepool-cluster relay`, which passes bytes and cuts or stalls
//! connections, and `tidepool-cluster refuser`, which has a certificate and nothing to give.
//!
//! TLS passes through a relay unopened: the two ends know each other by names in certificates, not by addresses.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};

use crate::stand_in;

/// How often orders are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a relay does with bytes on their way to the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Passes them.
    #[default]
    Pass,
    /// Ends each connection after so many bytes.
    Cut(u64),
    /// Says no more on a connection after so many bytes, and keeps it open.
    Stall(u64),
}

type Orders = Arc<Mutex<Act>>;

fn current(orders: &Orders) -> Act {
    *orders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Relays connections for ever.
pub(crate) fn run(listen: &str, to: &str, file: PathBuf) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let orders = Orders::default();
    let told = Arc::clone(&orders);
    std::thread::spawn(move || {
        loop {
            if let Some(act) = read(&file) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = act;
            }
            std::thread::sleep(LOOK);
        }
    });
    loop {
        let (node, _) = listener.accept().context("cannot accept")?;
        let (orders, to) = (Arc::clone(&orders), to.to_owned());
        std::thread::spawn(move || {
            if let Err(error) = relay(&node, &to, &orders) {
                eprintln!("connection ended: {error}");
            }
        });
    }
}

fn read(file: &Path) -> Option<Act> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}

fn relay(node: &TcpStream, to: &str, orders: &Orders) -> io::Result<()> {
    let member = TcpStream::connect(to)?;
    node.set_nodelay(true)?;
    member.set_nodelay(true)?;
    let (mut from_node, mut to_member) = (node.try_clone()?, member.try_clone()?);
    std::thread::spawn(move || {
        // Ends when either side does; the other direction then ends too.
        let _ = io::copy(&mut from_node, &mut to_member);
        let _ = to_member.shutdown(Shutdown::Both);
        let _ = from_node.shutdown(Shutdown::Both);
    });
    let passed = pass(&member, node, orders);
    let _ = node.shutdown(Shutdown::Both);
    let _ = member.shutdown(Shutdown::Both);
    passed
}

/// Passes bytes of the member to the node as ordered, until either side ends the connection.
fn pass(mut member: &TcpStream, mut node: &TcpStream, orders: &Orders) -> io::Result<()> {
    // A silent connection is cut too when it is told so.
    member.set_read_timeout(Some(LOOK))?;
    let (mut buffer, mut sent) = ([0; 16 << 10], 0_u64);
    loop {
        match current(orders) {
            Act::Cut(after) if sent >= after => return Ok(()),
            Act::Stall(after) if sent >= after => {
                std::thread::sleep(LOOK);
                continue;
            }
            Act::Pass | Act::Cut(_) | Act::Stall(_) => {}
        }
        match member.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                node.write_all(&buffer[..read])?;
                sent += read as u64;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers every request with a status, by the certificate in `folder`.
pub(crate) fn refuse(listen: &str, folder: &Path, status: StatusCode) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    runtime.block_on(async {
        let acceptor = stand_in::acceptor(folder, false)?;
        let listener = tokio::net::TcpListener::bind(listen).await.context("cannot listen")?;
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = |_: hyper::Request<Incoming>| async move {
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = status;
                    Ok::<_, std::convert::Infallible>(response)
                };
                let http = http1::Builder::new().timer(TokioTimer::new()).clone();
                // A client that leaves is no trouble of ours.
                let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects through a relay to a server that sends without end.
    fn connected(orders: &Orders) -> TcpStream {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            while stream.write_all(&[7; 1024]).is_ok() {}
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let orders = Arc::clone(orders);
        std::thread::spawn(move || relay(&listener.accept().unwrap().0, &to, &orders));
        client
    }

    #[test]
    fn a_connection_is_cut_after_its_bytes_and_not_before() {
        let orders: Orders = Arc::new(Mutex::new(Act::Cut(100_000)));
        let mut got = Vec::new();
        // The relay may end it by a reset: what it sent came before.
        let _ = connected(&orders).read_to_end(&mut got);
        assert!((100_000..100_000 + (16 << 10)).contains(&got.len()), "{} bytes", got.len());
    }

    #[test]
    fn a_connection_that_is_stalled_stays_open_and_goes_on_when_told_so() {
        let orders: Orders = Arc::new(Mutex::new(Act::Stall(100_000)));
        let mut client = connected(&orders);
        client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let (mut buffer, mut got) = (vec![0; 64 << 10], 0);
        let silence = loop {
            match client.read(&mut buffer) {
                Ok(read) => got += read,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(silence, io::ErrorKind::WouldBlock);
        assert!((100_000..100_000 + (16 << 10)).contains(&got), "{got} bytes");
        *orders.lock().unwrap() = Act::Pass;
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert!(client.read(&mut buffer).unwrap() > 0);
    }
}
