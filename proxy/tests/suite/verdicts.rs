//! What answers say about an upstream as a whole, and what says nothing about it (P10).

use std::time::Duration;

use crate::{
    credentials::upstream,
    fake::{Fake, Fault, ONE, digest_of},
    proxy::{Proxy, eventually},
};

const TAG: &str = "/v2/a/b/manifests/1";
const BLOB: &[u8] = b"a layer";

/// A registry with a tag and a blob, and a proxy of it that has the tag.
async fn with_a_tag_kept() -> (Fake, Proxy) {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.blob(BLOB);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(TAG).await.status, 200);
    (fake, proxy)
}

#[tokio::test]
async fn p10_what_is_said_of_lists_says_nothing_of_pulls() {
    let again = ("retry-after", "60");
    for (fault, expected) in [
        (Fault::With(429, again.0, again.1.into()), 503),
        (Fault::With(503, again.0, again.1.into()), 503),
        (Fault::Status(500), 503),
        (Fault::Status(400), 503),
        (Fault::Page, 503),
        (Fault::Json("[]"), 503),
    ] {
        let (fake, proxy) = with_a_tag_kept().await;
        fake.fault("/tags/list", fault.clone(), 100);
        fake.fault("/referrers/", fault.clone(), 100);
        let referrers = format!("/v2/a/b/referrers/{}", digest_of(ONE.as_bytes()));
        for path in ["/v2/a/b/tags/list?n=abc", &referrers] {
            assert_eq!(proxy.get(path).await.status, expected, "{fault:?}: {path}");
        }
        let lists = fake.asked("list").len() + fake.asked("referrers").len();
        let limited = matches!(fault, Fault::With(..));
        assert_eq!(lists, if limited { 1 } else { 2 }, "{fault:?}: a limit is one of all lists");
        fake.forget();
        assert_eq!(proxy.get(TAG).await.status, 200);
        assert_eq!(fake.asked("HEAD").len(), 1, "{fault:?}: a kept tag is asked for");
        let blob = format!("/v2/a/b/blobs/{}", digest_of(BLOB));
        assert_eq!(proxy.get(&blob).await.bytes(), BLOB, "{fault:?}");
        let health = upstream(&proxy).await.health;
        assert_eq!((health.retry_after, health.strained_until), (None, None), "{fault:?}");
    }
}

#[tokio::test]
async fn p10_an_answer_to_a_wrong_request_is_no_trouble() {
    let (fake, proxy) = with_a_tag_kept().await;
    let blob = format!("/v2/a/b/blobs/{}", digest_of(BLOB));
    for code in [400, 416, 451] {
        fake.fault("/blobs/", Fault::Status(code), 2);
        assert_eq!(proxy.head(&blob).await.status, 503, "{code}");
        fake.mend();
        fake.forget();
        assert_eq!(proxy.get(TAG).await.status, 200);
        assert_eq!(fake.asked("HEAD").len(), 1, "{code}: a kept tag is asked for");
    }
}

#[tokio::test]
async fn p10_a_list_that_hangs_keeps_nobody_from_finding_the_registry_back() {
    let mut fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    fake.down().await;
    assert_eq!(proxy.get(TAG).await.status, 503);
    fake.up().await;
    fake.fault("/tags/list", Fault::Silent, 100);
    let health = upstream(&proxy).await.health;
    assert!(health.open_until.is_some(), "{health:?}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let pull = async {
        eventually(async || fake.asked("/tags/list").len() == 1).await;
        proxy.get(TAG).await
    };
    tokio::select! {
        got = proxy.get("/v2/a/b/tags/list") => panic!("the list is there first: {got:?}"),
        got = pull => assert_eq!(got.bytes(), ONE.as_bytes()),
    }
}
