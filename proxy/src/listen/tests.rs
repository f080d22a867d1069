//! Who is let in, who is told to come back, and who is left.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{body::Body, response::Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::TcpStream,
    time::Instant,
};

use super::*;
use crate::metrics::{Listener, Metrics, ShedReason};

/// A listener with few places, and where it listens.
async fn few_places(limits: Limits, turn_away: TurnAway) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let crowd = Crowd::new(Listener::Clients, ShedReason::Connections, limits, Metrics::default());
    let told = stop.clone();
    tokio::spawn(async move {
        let serve = |Arrival { stream, place, .. }: Arrival| async move {
            let answer = |_| async { Response::new(Body::from("here")) };
            serve_http(stream, None, answer, std::future::pending()).await;
            drop(place);
        };
        accept(listener, told, crowd, turn_away, serve).await.shutdown().await;
    });
    (address, stop)
}

async fn asked(stream: &mut TcpStream) -> String {
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = String::new();
    while !answer.ends_with("here") && !answer.ends_with('}') {
        let mut piece = [0; 1000];
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => answer.push_str(std::str::from_utf8(&piece[..count]).unwrap()),
            _ => break,
        }
    }
    answer
}

#[tokio::test]
async fn a_connection_too_many_hears_503_and_when_to_come_back_rather_than_nothing() {
    let (address, _stop) = few_places(Limits { most: 2, share: 2 }, TurnAway::Tell).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(asked(&mut stream).await.ends_with("here"));
        held.push(stream);
    }
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), asked(&mut stream)).await.expect("it waits");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
        assert!(
            answer.ends_with(r#""code":"UNAVAILABLE","message":"too much is going on here, come back in a moment"}]}"#),
            "{answer}"
        );
    }
    // Those who are in are served on, and one that goes makes room.
    assert!(asked(&mut held[0]).await.ends_with("here"));
    held.pop();
    let until = Instant::now() + Duration::from_secs(5);
    while !asked(&mut TcpStream::connect(address).await.unwrap()).await.ends_with("here") {
        assert!(Instant::now() < until, "no room is made");
    }
}

#[tokio::test]
async fn one_client_that_takes_all_it_can_leaves_the_others_theirs() {
    let (address, _stop) = few_places(Limits { most: 40, share: 5 }, TurnAway::Tell).await;
    let from = async |last: u8| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let answer = asked(&mut stream).await;
        (stream, answer.ends_with("here"))
    };
    let (mut greedy, mut in_use) = (Vec::new(), 0);
    for _ in 0..60 {
        let (stream, served) = from(2).await;
        greedy.push(stream);
        in_use += usize::from(served);
    }
    assert_eq!(in_use, 20, "half, and no more");
    let mut others = Vec::new();
    for last in 3..7 {
        for _ in 0..5 {
            let (stream, served) = from(last).await;
            assert!(served, "127.0.0.{last} is shut out");
            others.push(stream);
        }
    }
}

#[tokio::test]
async fn one_that_is_turned_away_is_answered_when_it_has_asked_and_not_before() {
    let (address, _stop) = few_places(Limits { most: 0, share: 0 }, TurnAway::Tell).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut piece = [0; 10];
    for part in ["GET / HTTP/1.1\r\n", "host: a\r\n"] {
        let early = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut piece)).await;
        assert!(early.is_err(), "{early:?}");
        stream.write_all(part.as_bytes()).await.unwrap();
    }
    stream.write_all(b"\r\n").await.unwrap();
    stream.read_exact(&mut piece).await.unwrap();
    assert_eq!(&piece, b"HTTP/1.1 5");
    let mut silent = TcpStream::connect(address).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), silent.read(&mut piece)).await;
    assert_eq!(ended.expect("it is waited for").unwrap(), 0);
}

/// A connection to a server whose answers take `pause`.
fn connection(pause: Duration) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(100_000);
    let answer = move |_| async move {
        tokio::time::sleep(pause).await;
        Response::new(Body::from("here"))
    };
    tokio::spawn(async move { serve_http(ours, None, answer, std::future::pending()).await });
    theirs
}

/// Reads until the server closes; says what came, and after what time that was.
async fn to_the_end(stream: &mut DuplexStream) -> (String, Duration) {
    let (begun, mut text) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut text).await;
    (String::from_utf8(text).unwrap(), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_has_begun_is_waited_for_shortly_however_it_trickles() {
    let mut silent = connection(Duration::ZERO);
    silent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (answer, after) = to_the_end(&mut silent).await;
    assert!(answer.is_empty() && after >= HEAD_WITHIN && after < HEAD_WITHIN * 2, "{answer} {after:?}");

    let (mut trickling, begun) = (connection(Duration::ZERO), Instant::now());
    while trickling.write_all(b"x").await.is_ok() {
        assert!(begun.elapsed() < HEAD_WITHIN * 2, "it is heard out");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() >= HEAD_WITHIN, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_and_a_slow_answer_are_no_slow_head() {
    let mut idle = connection(Duration::ZERO);
    let (_, after) = to_the_end(&mut idle).await;
    assert!(after >= IDLE_WITHIN, "{after:?}");

    // The next request comes early, in two halves: its time begins when it is its turn.
    let mut busy = connection(Duration::from_secs(60));
    busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    busy.write_all(b"GET / HT").await.unwrap();
    let (answer, after) = to_the_end(&mut busy).await;
    let late = Duration::from_secs(59) + HEAD_WITHIN;
    assert!(answer.ends_with("here"), "{answer}");
    assert!(after >= late && after < late + HEAD_WITHIN, "{after:?}");

    let mut again = connection(Duration::ZERO);
    for _ in 0..3 {
        again.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        tokio::time::sleep(HEAD_WITHIN * 8 / 10).await;
        again.write_all(b"host: a\r\n\r\n").await.unwrap();
        let mut piece = [0; 1000];
        let count = again.read(&mut piece).await.unwrap();
        assert!(piece[..count].ends_with(b"here"));
        tokio::time::sleep(HEAD_WITHIN * 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_costs_a_piece_or_two() {
    let (ours, mut theirs) = tokio::io::duplex(1000);
    let given = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&given);
    let answer = move |_| {
        let given = Arc::clone(&counts);
        let pieces = futures::stream::repeat_with(move || {
            given.fetch_add(BUFFER, Ordering::Relaxed);
            Ok::<_, io::Error>(Bytes::from(vec![0; BUFFER]))
        });
        async { Response::new(Body::from_stream(pieces)) }
    };
    tokio::spawn(async move { serve_http(ours, None, answer, std::future::pending()).await });
    theirs.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let given = given.load(Ordering::Relaxed);
    assert!((BUFFER..=2 * BUFFER).contains(&given) && given <= 128 << 10, "{given}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused_before_it_is_all_heard() {
    for (size, status) in [(LARGEST_HEAD / 2, "200"), (LARGEST_HEAD + 1000, "431"), (1 << 20, "431")] {
        let mut stream = connection(Duration::ZERO);
        let head = format!("GET / HTTP/1.1\r\nconnection: close\r\nx-large: {}\r\n\r\n", "a".repeat(size));
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let mut answer = String::new();
        let (_, read) = tokio::join!(writer.write_all(head.as_bytes()), reader.read_to_string(&mut answer));
        read.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{size}: {answer}");
    }
    let mut many = connection(Duration::ZERO);
    let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    many.write_all(head.as_bytes()).await.unwrap();
    assert!(to_the_end(&mut many).await.0.starts_with("HTTP/1.1 431 "));
}
