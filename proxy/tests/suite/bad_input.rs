//! What bad input gets: the OCI error body, the right status, at once, and nobody upstream is asked.

use http::Method;
use tidepool_config::Upstream;

use crate::{
    fake::{Fake, ONE},
    proxy::Proxy,
};

#[tokio::test]
async fn every_wrong_request_gets_its_status_and_code_without_asking_upstream() {
    let fake = Fake::start().await;
    let proxy = Proxy::with(&fake, |file| {
        let mut listed = Upstream::plain("reg.test".parse().unwrap());
        listed.url = file.upstreams[0].url.clone();
        listed.repositories = vec!["team/*".into()];
        file.upstreams.push(listed);
    })
    .await;
    let digest = format!("sha256:{}", "0".repeat(64));
    for (path, status, code) in [
        ("/v2/a/b/blobs/sha256:12".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/b/blobs/md5:00".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/b/manifests/sha256:zz".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/b/manifests/-x".to_owned(), 400, "MANIFEST_INVALID"),
        (format!("/v2/UPPER/blobs/{digest}"), 400, "NAME_INVALID"),
        (format!("/v2/a//b/blobs/{digest}"), 400, "NAME_INVALID"),
        ("/v2/quay.io/a/b/manifests/1".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/a/b/manifests/1?ns=quay.io".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/a/b/manifests/1?ns=http%3A%2F%2F169.254.169.254".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/reg.test/other/a/manifests/1".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/reg.test/team/a/b/manifests/1".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/_catalog".to_owned(), 404, "UNSUPPORTED"),
        ("/".to_owned(), 404, "UNSUPPORTED"),
        ("/v1/search".to_owned(), 404, "UNSUPPORTED"),
    ] {
        let got = proxy.get(&path).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (status, code), "{path}");
        assert_eq!(got.header("content-type"), "application/json", "{path}");
    }
    assert_eq!(fake.asked(""), Vec::<String>::new());
    fake.tag("team/a", "1", ONE);
    assert_eq!(proxy.get("/v2/reg.test/team/a/manifests/1").await.status, 200);
    assert_eq!(proxy.get("/v2/team/a/manifests/1?ns=reg.test").await.status, 200);
}

#[tokio::test]
async fn writes_are_not_served() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let got = proxy.ask(method.clone(), "/v2/a/b/blobs/uploads/", &[]).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (405, "UNSUPPORTED"), "{method}");
        assert_eq!(got.header("allow"), "GET, HEAD");
    }
}

#[tokio::test]
async fn the_base_says_yes_without_a_login() {
    let mut fake = Fake::start().await;
    fake.want_tokens();
    fake.down().await;
    let proxy = Proxy::of(&fake).await;
    for path in ["/v2/", "/v2"] {
        let got = proxy.get(path).await;
        assert_eq!((got.status.as_u16(), got.bytes()), (200, &b"{}"[..]));
        assert_eq!(got.header("docker-distribution-api-version"), "registry/2.0");
        assert_eq!(got.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn requests_that_mean_no_upstream_add_no_series() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    for n in 0..20 {
        proxy.get(&format!("/v2/host{n}.example/a/manifests/1")).await;
    }
    let line = r#"tidepool_requests_total{upstream="",class="other",result="refused"}"#;
    assert_eq!(proxy.metric(line).await, 20);
}
