//! Fills that go on with what an earlier one, or an earlier process, left (P6, P11).

use crate::{
    fake::{Fake, Fault, noise},
    program::{Running, configured, get, program},
    proxy::{Proxy, eventually, files},
};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn p11_killed_in_the_middle_of_a_fill_the_next_process_asks_for_what_is_missing_only() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let bytes = noise(5 * MIB + 7, 1);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Stall(3 * MIB + 9), 1);
    let start = || {
        let mut command = program();
        command.arg("--config").arg(configured(&fake, dir.path()));
        Running::start(command)
    };
    let running = start();
    let mut answer = get(running.url(), &path).await;
    let mut received = 0;
    while received < 3 * MIB + 9 {
        received += answer.chunk().await.unwrap().unwrap().len();
    }
    drop(running); // kill -9
    let sent = fake.sent();
    let running = start();
    assert!(get(running.url(), &path).await.bytes().await.unwrap() == bytes);
    assert!(fake.asked("GET")[1].ends_with(&format!("bytes={}-", 3 * MIB)), "{:?}", fake.asked("GET"));
    assert_eq!(fake.sent() - sent, (2 * MIB + 7) as u64);
    let left = async || files(&dir.path().join("store/tmp")).is_empty();
    eventually(left).await;
}

#[tokio::test]
async fn p6_a_failed_fill_is_gone_on_with() {
    let fake = Fake::start().await;
    let bytes = noise(4 * MIB, 2);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Cut(5 * MIB / 2), 1);
    fake.fault("bytes=", Fault::Status(500), 100);
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&path).await.body.is_err());
    fake.mend();
    fake.forget();
    let proxy = proxy.restarted().await;
    assert!(proxy.get(&path).await.bytes() == bytes);
    assert_eq!(fake.asked("GET").len(), 1);
    assert!(fake.asked("GET")[0].ends_with(&format!("bytes={}-", 2 * MIB)), "{:?}", fake.asked("GET"));
}

#[tokio::test]
async fn p14_what_is_there_already_is_served_only_when_the_upstream_still_gives_it() {
    for status in [404, 401, 403] {
        let fake = Fake::start().await;
        let path = format!("/v2/a/b/blobs/{}", fake.blob(noise(4 * MIB, 3)));
        fake.fault("GET", Fault::Cut(3 * MIB), 1);
        fake.fault("bytes=", Fault::Status(500), 100);
        let proxy = Proxy::of(&fake).await;
        assert!(proxy.get(&path).await.body.is_err());
        fake.mend();
        fake.fault("GET", Fault::Status(status), 100);
        assert_eq!(proxy.get(&path).await.status, 404, "{status}");
    }
}

#[tokio::test]
async fn p5_wrong_bytes_of_an_earlier_fill_are_thrown_away_with_it() {
    let fake = Fake::start().await;
    let bytes = noise(4 * MIB, 4);
    let wrong = bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
    let digest = fake.blob(bytes.clone());
    let path = format!("/v2/a/b/blobs/{digest}");
    fake.replace(&digest, wrong);
    fake.fault("GET", Fault::Cut(3 * MIB), 1);
    fake.fault("bytes=", Fault::Status(500), 100);
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&path).await.body.is_err());
    fake.mend();
    fake.replace(&digest, bytes.clone());
    assert!(proxy.get(&path).await.body.is_err(), "half of it is wrong");
    assert!(proxy.get(&path).await.bytes() == bytes, "the next begins anew");
    assert_eq!(proxy.kept("tmp"), 0);
}

/// A proxy that keeps the first three of a blob's four MiB, and is to go on with them.
async fn three_of_four(fake: &Fake, path: &str) -> Proxy {
    fake.fault("GET", Fault::Cut(7 * MIB / 2), 1);
    fake.fault("bytes=", Fault::Status(500), 100);
    let proxy = Proxy::of(fake).await;
    assert!(proxy.get(path).await.body.is_err());
    fake.mend();
    fake.forget();
    proxy
}

#[tokio::test]
async fn p5_where_a_part_is_refused_nothing_of_an_earlier_fill_vouches_for_the_whole() {
    let refusals = [
        Fault::Status(416),
        Fault::Status(400),
        Fault::With(206, "content-range", format!("bytes {}-{}/*", 3 * MIB, 4 * MIB - 1)),
    ];
    for refusal in refusals {
        let fake = Fake::start().await;
        let bytes = noise(4 * MIB, 8);
        let digest = fake.blob(bytes.clone());
        let path = format!("/v2/a/b/blobs/{digest}");
        let proxy = three_of_four(&fake, &path).await;
        let mut wrong = bytes.to_vec();
        wrong[5] ^= 1;
        fake.replace(&digest, wrong);
        fake.fault("bytes=", refusal.clone(), 100);
        assert!(proxy.get(&path).await.body.is_err(), "{refusal:?}: a flipped byte");
        assert_eq!((fake.asked("bytes=").len(), proxy.kept("blobs")), (1, 0), "{refusal:?}");
        fake.replace(&digest, bytes.clone());
        assert!(proxy.get(&path).await.bytes() == bytes, "{refusal:?}");
    }
}

#[tokio::test]
async fn another_size_than_before_begins_anew() {
    let fake = Fake::start().await;
    let bytes = noise(4 * MIB, 5);
    let digest = fake.blob(bytes.clone());
    let path = format!("/v2/a/b/blobs/{digest}");
    fake.replace(&digest, [&bytes[..], b"more"].concat());
    fake.fault("GET", Fault::Cut(3 * MIB), 1);
    fake.fault("bytes=", Fault::Status(500), 100);
    let proxy = Proxy::of(&fake).await;
    assert!(proxy.get(&path).await.body.is_err());
    fake.mend();
    fake.replace(&digest, bytes.clone());
    assert!(proxy.get(&path).await.bytes() == bytes);
}

#[tokio::test]
async fn what_is_there_is_used_also_where_ranges_are_unknown_or_lengths_are() {
    for fault in [Fault::IgnoreRange, Fault::NoLength] {
        let fake = Fake::start().await;
        let bytes = noise(4 * MIB, 6);
        let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
        fake.fault("GET", Fault::Cut(3 * MIB), 1);
        fake.fault("bytes=", Fault::Status(500), 100);
        let proxy = Proxy::of(&fake).await;
        assert!(proxy.get(&path).await.body.is_err());
        fake.mend();
        fake.fault("GET", fault, 100);
        assert!(proxy.get(&path).await.bytes() == bytes);
        assert_eq!(proxy.kept("blobs"), 1);
    }
}

#[tokio::test]
async fn a_failed_fill_of_unknown_length_says_nothing_of_the_length() {
    let fake = Fake::start().await;
    let bytes = noise(4 * MIB, 9);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::NoLengthCut(7 * MIB / 2), 1);
    fake.fault("bytes=", Fault::Status(500), 100);
    let proxy = Proxy::of(&fake).await;
    assert_ne!(proxy.get(&path).await.status, 200);
    fake.mend();
    fake.fault("GET", Fault::NoLengthNoRange, 100);
    assert!(proxy.get(&path).await.bytes() == bytes);
}
