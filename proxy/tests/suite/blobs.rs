//! Blobs: one transfer whatever the number of readers, kept when right, served when the upstream is gone.

use std::time::Duration;

use tidepool_config::ByteSize;

use crate::{
    fake::{Fake, Fault, noise},
    proxy::{Proxy, content, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_readers_of_a_cold_blob_cost_one_transfer_and_all_get_the_right_bytes() {
    let fake = Fake::start().await;
    let bytes = noise(5_000_003, 1);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET /v2/a/b/blobs/", Fault::Slow(20), 1);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for got in proxy.herd(32, |_| path.clone()).await {
        assert_eq!(got.header("content-length"), "5000003");
        assert_eq!(got.header("docker-content-digest"), digest.to_string());
        assert!(got.bytes() == bytes, "wrong bytes");
    }
    assert_eq!(fake.asked("blobs").len(), 1);
    assert_eq!(proxy.get(&path).await.header("proxy-docker-cache"), "HIT");
    assert_eq!(proxy.metric("tidepool_upstream_bytes_total").await, 5_000_003);
    assert_eq!(proxy.metric("tidepool_served_bytes_total").await, 33 * 5_000_003);
    eventually(async || proxy.metric("tidepool_fills_in_flight").await == 0).await;
    assert_eq!(proxy.metric("tidepool_store_bytes").await, 5_000_003);
}

#[tokio::test]
async fn the_first_byte_does_not_wait_for_the_last() {
    let fake = Fake::start().await;
    let digest = fake.blob(noise(4 << 20, 2));
    fake.fault("GET", Fault::Stall(1 << 20), 1);
    let proxy = Proxy::of(&fake).await;
    let url = format!("http://{}/v2/a/b/blobs/{digest}", proxy.address);
    let mut answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    let mut received = 0;
    while received < 1 << 20 {
        received +=
            tokio::time::timeout(Duration::from_secs(30), answer.chunk()).await.unwrap().unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_stop_the_fill() {
    let fake = Fake::start().await;
    let bytes = noise(3 << 20, 3);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Slow(30), 1);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    drop(client.get(format!("http://{}{path}", proxy.address)).send().await.unwrap());
    drop(client);
    let got = proxy.get(&path).await;
    assert!(got.bytes() == bytes);
    assert_eq!(fake.asked("blobs").len(), 1);
}

#[tokio::test]
async fn a_blob_is_kept_once_whatever_repository_it_is_pulled_from() {
    let fake = Fake::start().await;
    let digest = fake.blob("shared");
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.bytes(), b"shared");
    assert_eq!(proxy.get(&format!("/v2/c/d/blobs/{digest}")).await.bytes(), b"shared");
    assert_eq!((fake.asked("GET").len(), proxy.kept("blobs")), (1, 1));
}

#[tokio::test]
async fn p3_head_of_a_blob_is_exact_and_fills_nothing() {
    let fake = Fake::start().await;
    let digest = fake.blob("twelve bytes");
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for _ in 0..2 {
        let got = proxy.head(&path).await;
        assert_eq!((got.status.as_u16(), got.header("content-length")), (200, "12"));
        assert_eq!(got.header("docker-content-digest"), digest.to_string());
        assert_eq!(got.header("content-type"), "application/octet-stream");
        proxy.get(&path).await;
    }
    assert_eq!(fake.asked("HEAD").len(), 1);
    let missing = format!("sha256:{}", "0".repeat(64));
    assert_eq!(proxy.head(&format!("/v2/a/b/blobs/{missing}")).await.status, 404);
}

#[tokio::test]
async fn p3_head_of_a_blob_on_its_way_asks_the_upstream_nothing() {
    let fake = Fake::start().await;
    let digest = fake.blob(noise(1 << 20, 7));
    fake.fault("GET", Fault::Stall(1000), 1);
    fake.fault("HEAD", Fault::Status(500), 1);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let _reader = client.get(format!("http://{}{path}", proxy.address)).send().await.unwrap();
    assert_eq!(proxy.head(&path).await.header("content-length"), (1 << 20).to_string());
    assert_eq!(fake.asked("HEAD").len(), 0);
}

#[tokio::test]
async fn an_upstream_that_does_not_tell_lengths_still_works() {
    let fake = Fake::start().await;
    let bytes = noise(300_000, 4);
    let digest = fake.blob(bytes.clone());
    fake.fault("blobs", Fault::NoLength, 10);
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(proxy.head(&path).await.header("content-length"), "300000");
    let got = proxy.get(&path).await;
    assert_eq!(got.header("content-length"), "300000");
    assert!(got.bytes() == bytes);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let fake = Fake::start().await;
    let digest = fake.blob("");
    let proxy = Proxy::of(&fake).await;
    for _ in 0..2 {
        let got = proxy.get(&format!("/v2/a/b/blobs/{digest}")).await;
        assert_eq!((got.status.as_u16(), got.header("content-length")), (200, "0"));
    }
}

#[tokio::test]
async fn a_damaged_file_is_filled_again_within_the_request() {
    let fake = Fake::start().await;
    let bytes = noise(1 << 20, 6);
    let digest = fake.blob(bytes.clone());
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    proxy.get(&path).await;
    let file = content(&proxy.store().join("blobs")).remove(0);
    for damage in [&b"short"[..], &vec![0; 1 << 20]] {
        std::fs::write(&file, damage).unwrap();
        assert!(proxy.get(&path).await.bytes() == bytes);
    }
    assert_eq!(fake.asked("GET").len(), 3);
}

#[tokio::test]
async fn p11_beyond_the_limit_old_blobs_go() {
    let fake = Fake::start().await;
    let proxy = Proxy::with(&fake, |file| file.storage.as_mut().unwrap().limit = Some(ByteSize(1 << 20))).await;
    let mut last = String::new();
    for seed in 0..6 {
        let digest = fake.blob(noise(300 << 10, 100 + seed));
        last = format!("/v2/a/b/blobs/{digest}");
        assert_eq!(proxy.get(&last).await.bytes().len(), 300 << 10);
        // Hours apart: ages are told to a fiftieth, and which goes first within that is left to chance.
        let file = proxy.store().join(format!("blobs/sha256/{}/{}", &digest.hex()[..2], digest.hex()));
        eventually(async || file.exists()).await;
        let pulled = std::time::SystemTime::now() - Duration::from_secs(3600 * (6 - seed));
        std::fs::File::open(&file).unwrap().set_modified(pulled).unwrap();
    }
    eventually(async || proxy.kept("blobs") <= 3).await;
    fake.forget();
    assert_eq!(proxy.get(&last).await.bytes().len(), 300 << 10);
    assert!(fake.asked("GET").is_empty(), "the last pulled stays");
}

#[tokio::test]
async fn p11_a_blob_beyond_the_limit_is_passed_on_and_nothing_goes_for_it() {
    let fake = Fake::start().await;
    let proxy = Proxy::with(&fake, |file| file.storage.as_mut().unwrap().limit = Some(ByteSize(1 << 20))).await;
    for seed in 0..9 {
        let path = format!("/v2/a/b/blobs/{}", fake.blob(noise(100 << 10, 200 + seed)));
        assert_eq!(proxy.get(&path).await.status, 200);
    }
    fake.forget();
    let bytes = noise(2 << 20, 300);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    for _ in 0..3 {
        assert!(proxy.get(&path).await.bytes() == bytes);
    }
    assert_eq!(fake.asked("GET").len(), 4, "once in vain, and never again");
    assert_eq!((proxy.kept("blobs"), proxy.kept("tmp")), (9, 0));
}
