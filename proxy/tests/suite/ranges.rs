//! Ranges: right on kept blobs, and on fills in flight.

use http::Method;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use crate::{
    fake::{Fake, Fault, noise},
    proxy::{Got, Proxy},
};

const SIZE: usize = 2_000_000;

async fn range(proxy: &Proxy, path: &str, range: &str) -> Got {
    proxy.ask(Method::GET, path, &[("range", range)]).await
}

#[tokio::test]
async fn p7_every_form_is_right_on_fills_in_flight_and_on_kept_blobs() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 1);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Slow(20), 1);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for round in ["in flight", "kept"] {
        for (header, start, end) in [
            ("bytes=0-0", 0, 1),
            ("bytes=1000000-1000999", 1_000_000, 1_001_000),
            ("bytes=1999000-", 1_999_000, SIZE),
            ("bytes=-1000", SIZE - 1000, SIZE),
            ("bytes=5-99999999", 5, SIZE),
        ] {
            let got = range(&proxy, &path, header).await;
            assert_eq!(got.status, 206, "{round} {header}");
            assert_eq!(got.header("content-range"), format!("bytes {start}-{}/{SIZE}", end - 1));
            assert!(got.bytes() == &bytes[start..end], "{round} {header}");
        }
        let got = range(&proxy, &path, "bytes=2000000-").await;
        assert_eq!((got.status.as_u16(), got.header("content-range")), (416, "bytes */2000000"));
        assert_eq!(got.code(), "RANGE_INVALID");
    }
    assert_eq!(fake.asked("GET").len(), 1);
}

#[tokio::test]
async fn p7_many_open_ended_ranges_at_once_cost_one_transfer() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 2);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Slow(20), 1);
    let proxy = std::sync::Arc::new(Proxy::of(&fake).await);
    let parts: Vec<_> = (0..8)
        .map(|part| {
            let (proxy, path) = (proxy.clone(), format!("/v2/a/b/blobs/{digest}"));
            let start = part * SIZE / 8;
            tokio::spawn(async move { (start, range(&proxy, &path, &format!("bytes={start}-")).await) })
        })
        .collect();
    for part in parts {
        let (start, got) = part.await.unwrap();
        assert!(got.bytes() == &bytes[start..]);
    }
    assert_eq!(fake.asked("GET").len(), 1);
}

#[tokio::test]
async fn p7_if_range_gives_the_whole_when_it_names_other_content() {
    let fake = Fake::start().await;
    let digest = fake.blob("0123456789");
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let etag = proxy.get(&path).await.header("etag").to_owned();
    assert_eq!(etag, format!("\"{digest}\""));
    for (validator, status) in [(etag.as_str(), 206), ("\"other\"", 200)] {
        let got = proxy.ask(Method::GET, &path, &[("range", "bytes=2-3"), ("if-range", validator)]).await;
        assert_eq!(got.status, status, "{validator}");
    }
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Bounded(usize, usize),
    From(usize),
    Suffix(usize),
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        6 => (0..SIZE + 1000, 1..300_000_usize).prop_map(|(start, len)| Asked::Bounded(start, start + len)),
        1 => (0..SIZE + 1000).prop_map(Asked::From),
        1 => (0..300_000_usize).prop_map(Asked::Suffix),
    ]
}

impl Asked {
    fn header(self) -> String {
        match self {
            Self::Bounded(start, end) => format!("{start}-{}", end - 1),
            Self::From(start) => format!("{start}-"),
            Self::Suffix(len) => format!("-{len}"),
        }
    }

    fn window(self) -> Option<(usize, usize)> {
        let (start, end) = match self {
            Self::Bounded(start, end) => (start, end.min(SIZE)),
            Self::From(start) => (start, SIZE),
            Self::Suffix(len) => (SIZE - len.min(SIZE), SIZE),
        };
        (start < end).then_some((start, end))
    }
}

/// The ranges in a `multipart/byteranges` answer, read as strictly as any client does.
fn parts(got: &Got) -> Vec<(String, &[u8])> {
    let boundary = got.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (mut rest, mut parts) = (got.bytes(), Vec::new());
    let mut line = format!("--{boundary}");
    loop {
        rest = rest.strip_prefix(line.as_bytes()).expect("a boundary");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let range = head.strip_prefix("\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ").unwrap();
        let (first, last) = range.split_once('/').unwrap().0.split_once('-').unwrap();
        let len = last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap();
        parts.push((range.to_owned(), &rest[end + 4..end + 4 + len]));
        rest = &rest[end + 4 + len..];
        line = format!("\r\n--{boundary}");
    }
}

/// Compares an answer with what RFC 9110 wants of it.
fn check(asked: &[Asked], got: &Got, bytes: &[u8]) {
    let windows: Vec<_> = asked.iter().filter_map(|asked| asked.window()).collect();
    let total: usize = windows.iter().map(|(start, end)| end - start).sum();
    let name = |(start, end): (usize, usize)| format!("{start}-{}/{SIZE}", end - 1);
    match windows.as_slice() {
        [] => assert_eq!((got.status.as_u16(), got.header("content-range")), (416, "bytes */2000000")),
        [window] => {
            assert_eq!(got.header("content-range"), format!("bytes {}", name(*window)));
            assert!(got.status == 206 && got.bytes() == &bytes[window.0..window.1]);
        }
        _ if total > SIZE => assert!(got.status == 200 && got.bytes() == bytes),
        windows => {
            assert_eq!(got.status, 206);
            assert_eq!(got.header("content-length"), got.bytes().len().to_string());
            let expected = windows.iter().map(|window| (name(*window), &bytes[window.0..window.1]));
            assert!(parts(got).into_iter().eq(expected), "{asked:?}");
        }
    }
}

/// Asks for many sets of ranges, of blobs that `fresh` makes.
fn any_ranges(cases: u32, fresh: bool) {
    let runtime = Runtime::new().unwrap();
    let (fake, proxy) = runtime.block_on(async {
        let fake = Fake::start().await;
        let proxy = Proxy::of(&fake).await;
        (fake, proxy)
    });
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let seed = std::sync::atomic::AtomicU64::new(1);
    let strategy = proptest::collection::vec(asked(), 1..7);
    let ran = runner.run(&strategy, |asked| {
        let seed = if fresh { seed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) } else { 1 };
        let bytes = noise(SIZE, seed);
        let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
        let header: Vec<_> = asked.iter().map(|asked| asked.header()).collect();
        runtime.block_on(async {
            if fresh {
                fake.fault("GET", Fault::Slow(5), 1);
            } else {
                proxy.get(&path).await;
            }
            check(&asked, &range(&proxy, &path, &format!("bytes={}", header.join(","))).await, &bytes);
        });
        Ok(())
    });
    runtime.block_on(async { drop((fake, proxy)) });
    ran.unwrap();
}

#[test]
fn p7_any_ranges_are_right_on_kept_blobs() {
    any_ranges(150, false);
}

#[test]
fn p7_any_ranges_are_right_on_fills_in_flight() {
    any_ranges(20, true);
}

#[tokio::test]
async fn p7_a_thousand_ranges_as_partial_pulls_ask_come_each_as_asked() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 3);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    let asked: Vec<_> = (0..1024).map(|at| Asked::Bounded(at * 1900, at * 1900 + 1900)).collect(); // adjacent
    let header: Vec<_> = asked.iter().map(|asked| asked.header()).collect();
    let got = range(&proxy, &path, &format!("bytes={}", header.join(","))).await;
    assert_eq!(parts(&got).len(), 1024);
    check(&asked, &got, &bytes);
}

#[tokio::test]
async fn p5_the_end_of_a_first_fill_waits_for_its_hash_in_several_ranges_too() {
    let fake = Fake::start().await;
    let (right, wrong) = (noise(SIZE, 4), Fault::WrongBytes);
    for (header, passes) in [
        ("bytes=0-99,1999900-1999999", true),
        ("bytes=0-99,1999900-", false),
        ("bytes=0-999999,1000000-1999999", false),
    ] {
        let proxy = Proxy::of(&fake).await;
        let path = format!("/v2/a/b/blobs/{}", fake.blob(right.clone()));
        fake.fault("GET", wrong.clone(), 10);
        let got = range(&proxy, &path, header).await;
        assert_eq!((got.status.as_u16(), got.body.is_ok()), (206, passes), "{header}");
        assert_eq!(proxy.kept("blobs"), 0);
        fake.mend();
    }
}
