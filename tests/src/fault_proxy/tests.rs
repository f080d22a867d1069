//! Each fault as a client sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Fault, FaultProxy, Times};

const SIZE: usize = 1 << 20;

/// A server that answers every request with the same bytes, and knows no ranges.
fn backend() -> (SocketAddr, Vec<u8>) {
    let body: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, content) = (listener.local_addr().unwrap(), body.clone());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            // The fault proxy may have left.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content));
        }
    });
    (address, body)
}

/// Head, body and how the connection ended, of one request that wants no other.
fn get(proxy: &FaultProxy) -> (String, Vec<u8>, Result<(), ErrorKind>) {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    stream.write_all(b"GET /v2/a/blobs/x HTTP/1.1\r\nRange: bytes=1-\r\n\r\n").unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let whole = |all: &[u8]| {
        let head = all.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&all[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
        (all.len() >= head + 4 + length).then_some(())
    };
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) => break Err(error.kind()),
        }
        if whole(&all).is_some() {
            break Ok(());
        }
    };
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    (String::from_utf8(all[..head].to_vec()).unwrap(), all.split_off(head), end)
}

fn faulty(fault: Fault) -> (FaultProxy, Vec<u8>) {
    let (backend, body) = backend();
    let proxy = FaultProxy::start(backend).unwrap();
    proxy.inject("/blobs/", Times::Next(1), fault);
    (proxy, body)
}

#[test]
fn a_fault_happens_as_often_as_it_was_asked_for_and_bytes_are_counted() {
    let (proxy, body) = faulty(Fault::Cut(1000));
    let (head, got, end) = get(&proxy);
    assert!(head.contains(&format!("Content-Length: {SIZE}")), "{head}");
    assert_eq!((got.as_slice(), end), (&body[..1000], Ok(())));
    assert!(get(&proxy).1 == body);
    proxy.inject("/manifests/", Times::Always, Fault::Hold);
    assert!(get(&proxy).1 == body, "a fault of another path");
    let seen = proxy.gets_of("/blobs/x");
    assert_eq!(seen.iter().map(|exchange| exchange.bytes).collect::<Vec<_>>(), [1000, SIZE as u64, SIZE as u64]);
    assert_eq!((seen[0].range.as_deref(), seen[0].status), (Some("bytes=1-"), Some(200)));
    assert_eq!((proxy.bytes_of("/blobs/"), proxy.connections()), (2 * SIZE as u64 + 1000, 3));
}

#[test]
fn a_reset_is_no_end() {
    let (proxy, _) = faulty(Fault::Reset(1000));
    assert_eq!(get(&proxy).2, Err(ErrorKind::ConnectionReset));
}

#[test]
fn truncated_answers_are_whole_and_too_short() {
    let (proxy, body) = faulty(Fault::Truncate(100));
    let (head, got, end) = get(&proxy);
    assert!(head.contains(&format!("content-length: {}", SIZE - 100)), "{head}");
    assert!(got == body[..SIZE - 100] && end.is_ok());
}

#[test]
fn a_stalled_connection_stays_open() {
    let (proxy, body) = faulty(Fault::Stall(1000));
    let (_, got, end) = get(&proxy);
    assert_eq!((got.as_slice(), end), (&body[..1000], Err(ErrorKind::WouldBlock)));
}

#[test]
fn held_requests_are_never_answered() {
    let (proxy, _) = faulty(Fault::Hold);
    assert_eq!(get(&proxy), (String::new(), Vec::new(), Err(ErrorKind::WouldBlock)));
}

#[test]
fn one_bit_is_corrupt() {
    let (proxy, body) = faulty(Fault::Corrupt(700_000));
    let got = get(&proxy).1;
    let differ: Vec<usize> = (0..SIZE).filter(|at| got[*at] != body[*at]).collect();
    assert_eq!(differ, [700_000]);
}

#[test]
fn slow_and_capped_are_slow() {
    let (proxy, body) = faulty(Fault::Slow(4 << 20));
    let begun = Instant::now();
    assert!(get(&proxy).1 == body);
    assert!(begun.elapsed() >= Duration::from_millis(240), "{:?}", begun.elapsed());
    proxy.cap_each_connection(4 << 20);
    let begun = Instant::now();
    assert!(get(&proxy).1 == body);
    assert!(begun.elapsed() >= Duration::from_millis(240), "{:?}", begun.elapsed());
}

#[test]
fn redirects_and_statuses_are_said() {
    let (proxy, body) = faulty(Fault::Redirect("http://cdn.test".to_owned()));
    let head = get(&proxy).0;
    assert!(head.contains("307") && head.contains("location: http://cdn.test/v2/a/blobs/x"), "{head}");
    proxy.inject("/blobs/", Times::Always, Fault::Status(503));
    assert!(get(&proxy).0.contains("503"));
    proxy.heal();
    assert!(get(&proxy).1 == body);
}
