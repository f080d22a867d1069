//! Upstreams that cut, stall, lie and redirect.

use std::time::Duration;

use http::Method;

use crate::{
    fake::{Fake, Fault, ONE, noise},
    proxy::{Proxy, eventually},
};

const SIZE: usize = 3_000_000;

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_broke() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 1);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Cut(1_000_000), 2);
    let proxy = Proxy::of(&fake).await;
    let got = proxy.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert!(got.bytes() == bytes);
    let asked = fake.asked("GET");
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].ends_with("bytes=1000000-") && asked[2].ends_with("bytes=2000000-"), "{asked:?}");
    assert_eq!(proxy.metric("tidepool_upstream_bytes_total").await, SIZE as u64);
    assert_eq!(proxy.kept("blobs"), 1);
}

#[tokio::test]
async fn a_range_that_comes_in_parts_is_asked_for_until_it_is_whole() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 8);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Cut(1_000_000), 1);
    fake.fault("GET", Fault::AtMost(500_000), 3);
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.bytes() == bytes);
    assert_eq!(fake.asked("GET").len(), 5);
}

#[tokio::test]
async fn a_cut_transfer_ends_well_even_where_ranges_are_unknown() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 2);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Cut(1_000_000), 1);
    fake.fault("GET", Fault::IgnoreRange, 1);
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.bytes() == bytes);
}

#[tokio::test]
async fn p2_one_fill_waits_for_a_registry_that_refuses_and_nobody_who_asks_for_the_rest() {
    let mut fake = Fake::start_at([127, 78, 0, 1]).await;
    let path = format!("/v2/a/b/blobs/{}", fake.blob(noise(SIZE, 9)));
    fake.fault("GET", Fault::Stall(1_000_000), 1);
    let proxy = Proxy::of(&fake).await;
    let half_way = async {
        eventually(async || proxy.metric("tidepool_upstream_bytes_total").await == 1_000_000).await;
        fake.down().await;
    };
    let (got, ()) = tokio::join!(proxy.get(&path), half_way);
    assert!(got.body.is_err());
    let refused = r#"tidepool_upstream_requests_total{upstream="docker.io",class="blob",result="unreachable"}"#;
    let tried = proxy.metric(refused).await;
    assert_eq!(tried, 4, "once after each of its waits: a second and a half together");
    // As an agent does, and the runtimes of all nodes that wanted it.
    for _ in 0..8 {
        let rest = proxy.ask(Method::GET, &path, &[("range", "bytes=1000000-")]).await;
        assert_eq!((rest.status.as_u16(), rest.code().as_str()), (503, "UNAVAILABLE"));
    }
    // On a slow machine a rest may be over: then one of them looks, once.
    let more = proxy.metric(refused).await - tried;
    assert!(more <= 1, "asked {more} times more");
}

#[tokio::test]
async fn a_transfer_that_breaks_for_good_breaks_the_body_and_keeps_nothing() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 3);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Cut(1_000_000), 1);
    fake.fault("bytes=1000000-", Fault::Status(500), 100);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let got = proxy.get(&path).await;
    assert_eq!((got.status.as_u16(), got.header("content-length")), (200, "3000000"));
    assert!(got.body.is_err(), "a body of {} bytes that ends as if it were whole", got.bytes().len());
    assert_eq!((proxy.kept("blobs"), proxy.kept("tmp")), (0, 0));
    fake.mend();
    assert!(proxy.get(&path).await.bytes() == bytes, "the next pull is right");
}

#[tokio::test]
async fn p5_wrong_bytes_never_make_a_whole_body_and_are_not_kept() {
    for range in ["", "bytes=0-", "bytes=2900000-", "bytes=-70000"] {
        let fake = Fake::start().await;
        let bytes = noise(SIZE, 4);
        let digest = fake.blob(bytes.clone());
        fake.fault("GET", Fault::WrongBytes, 1);
        let proxy = Proxy::of(&fake).await;
        let path = format!("/v2/a/b/blobs/{digest}");
        let headers = [("range", range)];
        let headers = if range.is_empty() { &headers[..0] } else { &headers };
        let got = proxy.ask(http::Method::GET, &path, headers).await;
        assert!(got.body.is_err() || got.status == 503, "{range}: {}", got.status);
        assert_eq!((proxy.kept("blobs"), proxy.kept("tmp")), (0, 0));
        assert!(proxy.get(&path).await.bytes() == bytes, "the next pull is right");
    }
}

#[tokio::test]
async fn a_small_wrong_or_short_blob_is_a_clean_503() {
    let fake = Fake::start().await;
    let digest = fake.blob("the right bytes");
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for fault in [Fault::WrongBytes, Fault::Short(5), Fault::Short(0)] {
        fake.fault("GET", fault.clone(), 1);
        let got = proxy.get(&path).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, "UNAVAILABLE"), "{fault:?}");
    }
    assert_eq!(proxy.get(&path).await.bytes(), b"the right bytes");
}

#[tokio::test]
async fn a_large_blob_that_comes_short_breaks_off() {
    let fake = Fake::start().await;
    let digest = fake.blob(noise(SIZE, 5));
    fake.fault("GET", Fault::Short(SIZE - 1), 1);
    let proxy = Proxy::of(&fake).await;
    let got = proxy.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert!(got.body.is_err() && proxy.kept("blobs") == 0);
}

#[tokio::test]
async fn a_blob_that_the_upstream_lacks_is_404_and_one_it_fails_to_give_503() {
    for (status, expected, code) in [(404, 404, "BLOB_UNKNOWN"), (403, 404, "BLOB_UNKNOWN"), (429, 503, "UNAVAILABLE")]
    {
        let fake = Fake::start().await;
        let digest = fake.blob("x");
        fake.fault("blobs", Fault::Status(status), 100);
        let proxy = Proxy::of(&fake).await;
        let got = proxy.get(&format!("/v2/a/b/blobs/{digest}")).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (expected, code), "{status}");
        assert_eq!(proxy.head(&format!("/v2/a/b/blobs/{digest}")).await.status, expected);
    }
}

#[tokio::test]
async fn redirects_are_followed_inside_and_circles_end() {
    let (fake, cdn) = (Fake::start().await, Fake::start().await);
    fake.want_tokens();
    let digest = cdn.blob("from the side");
    let target = format!("{}/v2/x/blobs/{digest}", cdn.url());
    // The first request is the one that is answered with a challenge.
    fake.fault("blobs", Fault::Redirect(target), 1);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(proxy.get(&path).await.bytes(), b"from the side");
    let round = fake.blob("never reached");
    fake.fault(round.to_string(), Fault::Redirect(format!("/v2/a/b/blobs/{round}")), 100);
    let got = proxy.get(&format!("/v2/a/b/blobs/{round}")).await;
    assert_eq!(got.status, 503);
    assert_eq!(fake.asked(&round.to_string()).len(), 11);
}

#[tokio::test]
async fn a_host_that_the_upstream_redirects_to_does_not_count_against_it() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let digest = fake.blob("x");
    fake.fault("blobs", Fault::Redirect("http://127.0.0.1:1/".into()), 100);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.status, 503);
    assert_eq!(proxy.get("/v2/a/b/manifests/1").await.status, 200, "the breaker is closed");
}

/// One that gets no byte that it waits for; the deadline is 15 s (P1), what is over goes to a machine that is shared:
/// with the 8 s to the headers before them it would be 23 s.
async fn the_first_byte_is_waited_for_until_its_deadline() {
    let fake = Fake::start().await;
    let digest = fake.blob(noise(SIZE, 6));
    fake.fault("GET", Fault::Stall(1000), 100);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let begun = tokio::time::Instant::now();
    let got = proxy.ask(http::Method::GET, &path, &[("range", "bytes=2000000-2000009")]).await;
    assert_eq!(got.status, 503);
    assert!(begun.elapsed() < Duration::from_secs(22), "{:?}", begun.elapsed());
}

/// One whose bytes come in ten pieces, within more time than the deadline of the first.
async fn a_body_that_comes_slowly_is_waited_for() {
    let fake = Fake::start().await;
    let bytes = noise(900_000, 10); // less than what several connections are worth
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Slow(1600), 1);
    let proxy = Proxy::of(&fake).await;
    let begun = tokio::time::Instant::now();
    assert!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.bytes() == bytes);
    assert!(begun.elapsed() > Duration::from_secs(15), "the upstream was not slow");
    assert_eq!(fake.asked("GET").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_first_byte_has_a_deadline_and_the_others_have_as_long_as_they_come() {
    tokio::join!(the_first_byte_is_waited_for_until_its_deadline(), a_body_that_comes_slowly_is_waited_for());
}

#[tokio::test]
async fn a_blob_larger_than_the_store_may_hold_is_served_and_not_kept() {
    let fake = Fake::start().await;
    let bytes = noise(SIZE, 7);
    let digest = fake.blob(bytes.clone());
    let limit = Some(tidepool_config::ByteSize(1 << 20));
    let proxy = Proxy::with(&fake, |file| file.storage.as_mut().unwrap().limit = limit).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for (range, start, end) in [("", 0, SIZE), ("bytes=5-14", 5, 15), ("bytes=2000000-", 2_000_000, SIZE)] {
        let headers = [("range", range)];
        let got = proxy.ask(http::Method::GET, &path, if range.is_empty() { &[] } else { &headers }).await;
        assert!(got.bytes() == &bytes[start..end], "{range}");
        assert_eq!(got.header("content-length"), (end - start).to_string());
    }
    assert_eq!(proxy.kept("blobs"), 0);
    fake.fault("GET", Fault::WrongBytes, 2);
    assert!(proxy.get(&path).await.body.is_err(), "the end is held back here too");
}

#[tokio::test]
async fn a_blob_without_a_length_takes_no_more_than_the_store_may_hold() {
    let fake = Fake::start().await;
    let digest = fake.blob(noise(SIZE, 9));
    fake.fault("GET", Fault::NoLength, 1);
    let limit = Some(tidepool_config::ByteSize(1 << 20));
    let proxy = Proxy::with(&fake, |file| file.storage.as_mut().unwrap().limit = limit).await;
    let got = proxy.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert_eq!(got.bytes().len(), SIZE);
    assert_eq!(proxy.kept("blobs"), 0);
    assert_eq!(fake.asked("blobs").len(), 3, "a fill, the size, and past the store");
}
