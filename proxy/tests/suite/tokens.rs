//! Tokens: one for all who wait, used until it is refused.

use crate::{
    fake::{Fake, Fault, ONE, TWO},
    proxy::Proxy,
};

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_herd_costs_one_token() {
    let fake = Fake::start().await;
    fake.want_tokens();
    fake.fault("/token", Fault::Late(500), 1000);
    let digests: Vec<_> = (0..64).map(|n| fake.blob(format!("blob {n}"))).collect();
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    for got in proxy.herd(64, |at| format!("/v2/a/b/blobs/{}", digests[at])).await {
        assert_eq!(got.status, 200);
    }
    assert_eq!(proxy.get("/v2/a/b/manifests/1").await.bytes(), ONE.as_bytes());
    assert_eq!(fake.asked("/token").len(), 1);
    let asked = fake.asked("/token");
    assert!(asked[0].contains("scope=repository%3Aa%2Fb%3Apull") && asked[0].contains("service=fake"), "{asked:?}");
    fake.forget();
    proxy.get("/v2/a/b/manifests/1").await;
    assert_eq!(fake.asked("").len(), 1, "a token that is held is sent at once");
}

#[tokio::test]
async fn a_refused_token_is_replaced() {
    let fake = Fake::start().await;
    fake.want_tokens();
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    proxy.get("/v2/a/b/manifests/1").await;
    fake.revoke_tokens();
    fake.tag("a/b", "1", TWO);
    assert_eq!(proxy.get("/v2/a/b/manifests/1").await.bytes(), TWO.as_bytes());
    assert_eq!(fake.asked("/token").len(), 2);
}

#[tokio::test]
async fn a_realm_that_refuses_is_an_absence_and_one_that_fails_an_outage() {
    for (status, expected) in [(401, 404), (403, 404), (404, 503), (429, 503), (500, 503)] {
        let fake = Fake::start().await;
        fake.want_tokens();
        fake.tag("a/b", "1", ONE);
        fake.fault("/token", Fault::Status(status), 100);
        let proxy = Proxy::of(&fake).await;
        assert_eq!(proxy.get("/v2/a/b/manifests/1").await.status, expected, "{status}");
    }
}
