//! Tags: asked each time by one shared HEAD, served when the upstream fails, never an outage taken for absence.

use tidepool_config::Upstream;

use crate::{
    fake::{Fake, Fault, IMAGE, ONE, TWO, digest_of},
    proxy::{Proxy, eventually},
};

const TAG: &str = "/v2/a/b/manifests/1";

#[tokio::test]
async fn p8_a_warm_pull_asks_the_upstream_one_head() {
    let fake = Fake::start().await;
    let digest = fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    let cold = proxy.head(TAG).await;
    assert_eq!((cold.status.as_u16(), cold.header("content-length")), (200, "12"));
    assert_eq!(cold.header("proxy-docker-cache"), "MISS");
    assert_eq!(fake.asked("GET").len(), 1, "a cold HEAD fetches the manifest first");
    fake.forget();
    let warm = proxy.get(TAG).await;
    assert_eq!((warm.bytes(), warm.header("content-type")), (ONE.as_bytes(), IMAGE));
    assert_eq!(warm.header("docker-content-digest"), digest.to_string());
    assert_eq!(warm.header("proxy-docker-cache"), "HIT");
    assert_eq!(proxy.get(&format!("/v2/a/b/manifests/{digest}")).await.bytes(), ONE.as_bytes());
    assert_eq!(fake.asked("/v2/"), ["HEAD /v2/a/b/manifests/1"]);
}

#[tokio::test]
async fn a_moved_tag_is_seen_at_once() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    proxy.get(TAG).await;
    fake.tag("a/b", "1", TWO);
    assert_eq!(proxy.get(TAG).await.bytes(), TWO.as_bytes());
    fake.tag("a/b", "1", ONE);
    fake.forget();
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
    assert_eq!(fake.asked("GET").len(), 0, "back at a manifest that is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_shares_one_head_and_one_get() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.fault("GET", Fault::Slow(20), 1);
    let proxy = Proxy::of(&fake).await;
    for got in proxy.herd(32, |_| TAG.to_owned()).await {
        assert_eq!(got.bytes(), ONE.as_bytes());
    }
    assert_eq!(fake.asked("GET").len(), 1);
}

#[tokio::test]
async fn p8_the_upstreams_return_is_noticed_after_every_failure() {
    let faults = [401, 403, 404, 429, 500, 502, 503, 302].map(Fault::Status).into_iter().chain([Fault::Silent]);
    let cases = faults.map(|fault| async move {
        let fake = Fake::start().await;
        fake.tag("a/b", "1", ONE);
        let proxy = Proxy::of(&fake).await;
        proxy.get(TAG).await;
        fake.fault("/v2/", fault.clone(), 1000);
        assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "{fault:?}");
        fake.mend();
        fake.tag("a/b", "1", TWO);
        eventually(async || proxy.get(TAG).await.bytes() == TWO.as_bytes()).await;
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn a_refused_connection_serves_what_is_held_and_says_503_for_the_rest() {
    let mut fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.tag("a/b", "2", TWO);
    let proxy = Proxy::of(&fake).await;
    proxy.get(TAG).await;
    fake.down().await;
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
    for path in ["/v2/a/b/manifests/2", &format!("/v2/a/b/blobs/{}", digest_of(b"x"))] {
        let got = proxy.get(path).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, "UNAVAILABLE"), "{path}");
        assert_eq!(proxy.head(path).await.status, 503);
    }
    fake.up().await;
    eventually(async || proxy.get("/v2/a/b/manifests/2").await.status == 200).await;
    assert_eq!(proxy.get("/v2/a/b/manifests/2").await.bytes(), TWO.as_bytes());
}

#[tokio::test]
async fn a_cold_tag_is_404_when_the_upstream_has_none_and_503_when_it_fails_to_say() {
    for (status, expected, code) in [
        (404, 404, "MANIFEST_UNKNOWN"),
        (401, 404, "MANIFEST_UNKNOWN"),
        (403, 404, "MANIFEST_UNKNOWN"),
        (429, 503, "UNAVAILABLE"),
        (500, 503, "UNAVAILABLE"),
        (302, 503, "UNAVAILABLE"),
        (204, 503, "UNAVAILABLE"),
    ] {
        let fake = Fake::start().await;
        fake.tag("a/b", "1", ONE);
        fake.fault("/v2/", Fault::Status(status), 1000);
        let proxy = Proxy::of(&fake).await;
        let got = proxy.get(TAG).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (expected, code), "{status}");
        assert_eq!(got.header("www-authenticate"), "");
    }
}

#[tokio::test]
async fn p8_absence_is_remembered_for_a_moment_only() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    for _ in 0..5 {
        assert_eq!(proxy.head(TAG).await.status, 404);
    }
    assert_eq!(fake.asked("/v2/").len(), 1);
    fake.tag("a/b", "1", ONE);
    eventually(async || proxy.head(TAG).await.status == 200).await;
    fake.untag("a/b", "1");
    assert_eq!(proxy.head(TAG).await.status, 200, "gone upstream, held here");
}

#[tokio::test]
async fn a_head_without_a_digest_is_answered_by_a_get() {
    let fake = Fake::start().await;
    let digest = fake.tag("a/b", "1", ONE);
    fake.fault("HEAD", Fault::Without("docker-content-digest"), 1);
    fake.fault("HEAD", Fault::Status(405), 1);
    let proxy = Proxy::of(&fake).await;
    for _ in 0..2 {
        assert_eq!(proxy.get(TAG).await.header("docker-content-digest"), digest.to_string());
    }
}

#[tokio::test]
async fn wrong_and_oversized_manifests_are_503_and_not_kept() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.fault("GET", Fault::WrongBytes, 1);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(TAG).await.status, 503);
    fake.tag("a/b", "large", &"x".repeat((4 << 20) + 1));
    assert_eq!(proxy.get("/v2/a/b/manifests/large").await.status, 503);
    assert_eq!((proxy.kept("manifests"), proxy.kept("tags")), (0, 0));
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
}

#[tokio::test]
async fn lists_pass_through_and_their_links_lead_back_to_the_proxy() {
    let fake = Fake::start().await;
    let other = fake.url();
    let proxy = Proxy::with(&fake, |file| {
        let mut reg = Upstream::plain("reg.test:5000".parse().unwrap());
        reg.url = Some(other.parse().unwrap());
        file.upstreams.push(reg);
    })
    .await;
    for (path, link) in [
        ("/v2/a/b/tags/list?n=1", "</v2/a/b/tags/list?last=a&n=1>; rel=\"next\""),
        ("/v2/reg.test_5000_/a/tags/list", "</v2/reg.test_5000_/a/tags/list?last=a&n=1>; rel=\"next\""),
        ("/v2/a/tags/list?ns=reg.test%3A5000", "</v2/a/tags/list?last=a&n=1&ns=reg.test%3A5000>; rel=\"next\""),
    ] {
        let got = proxy.get(path).await;
        assert_eq!((got.status.as_u16(), got.header("link")), (200, link));
        assert_eq!(got.bytes(), br#"{"name":"x","tags":["a"]}"#);
    }
    assert_eq!(fake.asked("/v2/")[0], "GET /v2/a/b/tags/list?n=1");
    let digest = digest_of(b"subject");
    assert_eq!(proxy.get(&format!("/v2/a/b/referrers/{digest}")).await.status, 404);
}

#[tokio::test]
async fn a_page_for_people_is_never_taken_for_a_manifest_or_a_list() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.tag("a/b", "2", TWO);
    let proxy = Proxy::of(&fake).await;
    proxy.get(TAG).await;
    fake.fault("/v2/", Fault::Page, 1000);
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "what is held stays");
    for path in ["/v2/a/b/manifests/2", "/v2/a/b/tags/list"] {
        let got = proxy.get(path).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, "UNAVAILABLE"), "{path}");
    }
    assert_eq!((proxy.kept("manifests"), proxy.kept("tags")), (1, 1));
    fake.forget();
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
    assert_eq!(fake.asked("").len(), 0, "the upstream is left alone for a while");
}

#[tokio::test]
async fn what_is_no_manifest_may_be_a_blob() {
    let fake = Fake::start().await;
    let digest = fake.blob("only a blob");
    fake.fault("manifests", Fault::Status(404), 10);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.head(&format!("/v2/a/b/manifests/{digest}")).await.status, 404);
    for method in [http::Method::HEAD, http::Method::GET] {
        assert_eq!(proxy.ask(method, &format!("/v2/a/b/blobs/{digest}"), &[]).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_warm_herd_of_64_shares_one_head() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    proxy.get(TAG).await;
    fake.forget();
    fake.fault("HEAD", Fault::Late(300), 1);
    for got in proxy.herd(64, |_| TAG.to_owned()).await {
        assert_eq!(got.bytes(), ONE.as_bytes());
    }
    assert_eq!(fake.asked(""), ["HEAD /v2/a/b/manifests/1"]);
}

#[tokio::test]
async fn a_slow_list_does_not_keep_pulls_from_the_upstream() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.fault("tags/list", Fault::Silent, 1);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get("/v2/a/b/tags/list").await.status, 503);
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
}
