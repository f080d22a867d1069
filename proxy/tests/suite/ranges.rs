//! Ranges: right on kept blobs, and on fills in flight.

use http::Method;

use crate::{
    fake::{Fake, Fault, noise},
    proxy::{Got, Proxy},
};

const SIZE: usize = 2_000_000;

async fn range(proxy: &Proxy, path: &str, range: &str) -> Got {
    proxy.ask(Method::GET, path, &[("range", range)]).await
}

#[tokio::test]
async fn every_form_is_right_on_fills_in_flight_and_on_kept_blobs() {
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
async fn many_open_ended_ranges_at_once_cost_one_transfer() {
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
async fn if_range_gives_the_whole_when_it_names_other_content() {
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
    let several = range(&proxy, &path, "bytes=0-1,5-6").await;
    assert_eq!((several.status.as_u16(), several.bytes()), (200, &b"0123456789"[..]));
}
