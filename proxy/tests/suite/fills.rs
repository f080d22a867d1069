//! Fills of more than one connection (P6): for readers far ahead, and from upstreams that limit each.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::{
    fake::{Fake, Fault, noise},
    proxy::{Proxy, content, eventually},
};

const MIB: usize = 1 << 20;

/// A blob that takes no time to make.
fn large(mib: usize) -> Bytes {
    let unit = noise(MIB, mib as u64);
    let mut bytes = Vec::with_capacity(mib * MIB);
    (0..mib).for_each(|number| {
        bytes.extend_from_slice(&unit);
        bytes[number * MIB] = u8::try_from(number % 251).unwrap();
    });
    bytes.into()
}

/// The upstream sent little more than the blob, with so many connections broken or closed early: what we received of them
/// is but a chunk; what was on its way to us is as much as the buffers of a busy machine hold.
async fn little_more(fake: &Fake, proxy: &Proxy, size: usize, broken: usize) {
    let received = proxy.metric("tidepool_upstream_bytes_total").await;
    assert!(received <= (size + broken * MIB) as u64, "{received} bytes: {:?}", fake.asked("GET"));
    assert!(fake.sent() <= (size + broken * 12 * MIB) as u64, "{} bytes: {:?}", fake.sent(), fake.asked("GET"));
}

fn ranged(fake: &Fake) -> usize {
    fake.asked("bytes=").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_sixty_four_readers_cost_one_transfer() {
    let fake = Fake::start().await;
    let bytes = large(20);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Slow(20), 1);
    let proxy = std::sync::Arc::new(Proxy::of(&fake).await);
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let (proxy, path, bytes) = (std::sync::Arc::clone(&proxy), path.clone(), bytes.clone());
            tokio::spawn(async move { proxy.get(&path).await.bytes() == bytes })
        })
        .collect();
    for reader in readers {
        assert!(reader.await.unwrap(), "wrong bytes");
    }
    assert_eq!((fake.asked("GET").len(), fake.sent()), (1, bytes.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_reader_far_ahead_is_served_before_the_first_connection_gets_there() {
    let fake = Fake::start().await;
    let bytes = large(48);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Paced(32 << 10), 1); // 3 MiB/s: 10 s to get there
    let proxy = Proxy::of(&fake).await;
    let whole = proxy.get(&path);
    let far = async {
        eventually(async || !fake.asked("GET").is_empty()).await;
        let range = format!("bytes={}-{}", 32 * MIB, 32 * MIB + 99_999);
        let begun = std::time::Instant::now();
        let got = proxy.ask(Method::GET, &path, &[("range", &range)]).await;
        assert!(got.bytes() == &bytes[32 * MIB..32 * MIB + 100_000]);
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        assert_eq!(fake.asked("GET")[1].rsplit_once("bytes=").unwrap().1, format!("{}-", 32 * MIB));
    };
    let (whole, ()) = tokio::join!(whole, far);
    assert!(whole.bytes() == bytes);
    little_more(&fake, &proxy, bytes.len(), 1).await;
    assert_eq!(proxy.kept("blobs"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_chunks_of_a_parallel_fetch_are_all_served_and_asked_for_once() {
    let fake = Fake::start().await;
    let bytes = large(80);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Paced(100 << 10), 100);
    let proxy = Proxy::of(&fake).await;
    let chunk = 10 * MIB;
    // As containerd does: the ends are open, and each is closed after its chunk.
    let fetch = async |number: usize| {
        let url = format!("http://{}{path}", proxy.address);
        let request = reqwest::Client::new().get(url).header("range", format!("bytes={}-", number * chunk));
        let mut answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 206);
        let mut got = Vec::new();
        while got.len() < chunk {
            got.extend(answer.chunk().await.unwrap().unwrap());
        }
        assert!(got[..chunk] == bytes[number * chunk..(number + 1) * chunk], "chunk {number}");
    };
    futures::future::join_all((0..8).map(fetch)).await;
    assert!(ranged(&fake) > 1, "{:?}", fake.asked("GET"));
    little_more(&fake, &proxy, bytes.len(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_upstream_that_limits_each_connection_is_asked_by_several() {
    let fake = Fake::start().await;
    let bytes = large(64);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Paced(100 << 10), 100); // 10 MiB/s each
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&path).await.bytes() == bytes);
    assert!(ranged(&fake) >= 3, "{:?}", fake.asked("GET"));
    little_more(&fake, &proxy, bytes.len(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_upstream_that_ignores_ranges_is_asked_for_one_once() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    for mib in [33, 34] {
        let bytes = large(mib);
        let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
        fake.fault("bytes=", Fault::IgnoreRange, 100);
        fake.fault("GET", Fault::Paced(256 << 10), 1);
        let far = format!("bytes={}-", 30 * MIB);
        let far = [("range", far.as_str())];
        let (whole, far) = tokio::join!(proxy.get(&path), proxy.ask(Method::GET, &path, &far));
        assert!(whole.bytes() == bytes && far.bytes() == &bytes[30 * MIB..]);
        fake.mend();
    }
    assert_eq!(ranged(&fake), 1, "{:?}", fake.asked("GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_stalled_connection_is_replaced_while_others_go_on() {
    let fake = Fake::start().await;
    let bytes = large(64);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    let far = format!("bytes={}-", 32 * MIB);
    fake.fault(far.trim_end_matches('-'), Fault::Stall(MIB), 1);
    fake.fault("GET", Fault::Paced(100 << 10), 1);
    let proxy = Proxy::of(&fake).await;
    let far = [("range", far.as_str())];
    let begun = std::time::Instant::now();
    let late = async {
        let got = proxy.ask(Method::GET, &path, &far).await;
        (got.bytes() == &bytes[32 * MIB..], begun.elapsed())
    };
    let (whole, (right, took)) = tokio::join!(proxy.get(&path), late);
    assert!(right && whole.bytes() == bytes);
    // It is replaced after 3 s; one that were left alone would end after 10 s by itself.
    assert!(took < Duration::from_millis(9500), "{took:?}");
    little_more(&fake, &proxy, bytes.len(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_the_connection_that_is_left_tries_as_hard_as_the_first() {
    let fake = Fake::start().await;
    let bytes = large(80);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    let far = format!("bytes={}-", 32 * MIB);
    // The first is at the reader's window long before that has come; then there is but the one that was brought in.
    fake.fault(format!("bytes={}-", 48 * MIB), Fault::Status(500), 2);
    fake.fault(&far, Fault::Paced(128 << 10), 1);
    fake.fault("GET", Fault::Paced(512 << 10), 1);
    let proxy = Proxy::of(&fake).await;
    let late = async {
        eventually(async || !fake.asked("GET").is_empty()).await;
        proxy.ask(Method::GET, &path, &[("range", &far)]).await
    };
    let (whole, late) = tokio::join!(proxy.get(&path), late);
    assert!(whole.bytes() == bytes && late.bytes() == &bytes[32 * MIB..]);
    assert!(!fake.asked(&format!("bytes={}-", 48 * MIB)).is_empty(), "{:?}", fake.asked("GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_fill_that_nobody_reads_stops_when_much_is_to_go_and_is_gone_on_with() {
    let fake = Fake::start().await;
    let bytes = large(144);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Paced(10 << 10), 100);
    let proxy = Proxy::of(&fake).await;
    let client = reqwest::Client::new();
    drop(client.get(format!("http://{}{path}", proxy.address)).send().await.unwrap());
    drop(client);
    eventually(async || proxy.metric("tidepool_fills_in_flight").await == 1).await;
    eventually(async || proxy.metric("tidepool_fills_in_flight").await == 0).await;
    assert!(fake.sent() < bytes.len() as u64 / 2);
    fake.mend();
    fake.forget();
    assert!(proxy.get(&path).await.bytes() == bytes);
    assert!(fake.asked("GET")[0].contains("bytes="), "{:?}", fake.asked("GET"));
    little_more(&fake, &proxy, bytes.len(), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_large_blob_without_checksums_is_served_while_it_is_hashed_and_nothing_is_asked() {
    let fake = Fake::start().await;
    let bytes = large(260);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&path).await.bytes() == bytes);
    eventually(async || !content(&proxy.store().join("blobs")).is_empty()).await;
    let file = content(&proxy.store().join("blobs")).remove(0);
    let sums = file.with_extension("sums");
    let proxy = proxy.restarted().await;
    std::fs::remove_file(&sums).unwrap();
    fake.forget();
    let got = proxy.get(&path).await;
    assert!(got.bytes() == bytes);
    assert_eq!((got.header("proxy-docker-cache"), fake.asked("GET").len()), ("MISS", 0));
    eventually(async || sums.exists()).await; // made anew
    let proxy = proxy.restarted().await;
    std::fs::remove_file(&sums).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::options().write(true).open(&file).unwrap(), b"x", 99)
        .unwrap();
    assert!(proxy.get(&path).await.body.is_err(), "wrong bytes never make a whole body");
    assert!(proxy.get(&path).await.bytes() == bytes);
    assert!(!fake.asked("GET").is_empty(), "removed, and filled again");
}
