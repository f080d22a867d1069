//! What metrics say, and what no client can make them say.

use std::collections::HashSet;

use http::Method;

use crate::{
    fake::{Fake, Fault, ONE, noise},
    proxy::{Proxy, eventually},
};

/// The series there are, without their values.
async fn series(proxy: &Proxy) -> HashSet<String> {
    let text = proxy.admin("/metrics").await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn no_client_adds_a_series_whatever_it_sends() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    let methods = ["GET", "HEAD", "POST", "BREW", "DELETE"].map(|name| Method::from_bytes(name.as_bytes()).unwrap());
    let hostile = async |word: &str| {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for path in [
            format!("/v2/{word}/manifests/{word}"),
            format!("/v2/{word}.example.com/a/manifests/1"),
            format!("/v2/a/manifests/1?ns={word}"),
            format!("/v2/a/manifests/1?ns=docker.io&{word}={word}"),
            format!("/v2/a/{word}/blobs/{digest}"),
            format!("/v2/a/blobs/{word}:{word}"),
            format!("/v2/{word}/tags/list"),
            format!("/v2/{word}/referrers/{digest}"),
            format!("/{word}"),
            format!("/v2/%22%7D%0A{word}/tags/list"),
        ] {
            for method in &methods {
                let headers = [("host", word), ("user-agent", word), ("authorization", word), ("range", word)];
                proxy.ask(method.clone(), &path, &headers).await;
            }
        }
    };
    hostile("zulu").await;
    let before = series(&proxy).await;
    for number in 0..8 {
        hostile(&format!("zulu{number}")).await;
    }
    let after = series(&proxy).await;
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(before.len() > 30, "{before:?}");
    assert!(!after.iter().any(|line| line.contains("zulu")), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_got_and_cost_is_counted() {
    let fake = Fake::start().await;
    let bytes = noise(1_000_000, 7);
    let (digest, wrong) = (fake.blob(bytes.clone()), fake.blob("wrong"));
    fake.fault(format!("GET /v2/a/b/blobs/{digest}"), Fault::Cut(300_000), 1);
    fake.fault(format!("blobs/{wrong}"), Fault::WrongBytes, 1);
    let proxy = Proxy::of(&fake).await;
    let blob = format!("/v2/a/b/blobs/{digest}");
    for _ in 0..2 {
        assert_eq!(proxy.get(&blob).await.bytes(), bytes);
    }
    proxy.get(&format!("/v2/a/b/blobs/{wrong}")).await;
    let none = format!("/v2/a/b/blobs/sha256:{}", "00".repeat(32));
    assert_eq!(proxy.get(&none).await.status, 404);
    for (start, value) in [
        (r#"tidepool_requests_total{upstream="docker.io",class="blob",result="hit"}"#, 1),
        (r#"tidepool_requests_total{upstream="docker.io",class="blob",result="absent"}"#, 1),
        (r#"tidepool_served_bytes_total{upstream="docker.io"}"#, 2_000_000),
        (r#"tidepool_fills_total{upstream="docker.io",result="kept"}"#, 1),
        (r#"tidepool_fill_resumes_total{upstream="docker.io"}"#, 1),
        (r#"tidepool_fills_total{upstream="docker.io",result="wrong"}"#, 1),
        (r#"tidepool_fills_total{upstream="docker.io",result="absent"}"#, 1),
        (r#"tidepool_response_headers_seconds_count{class="blob"}"#, 4),
    ] {
        assert_eq!(proxy.metric(start).await, value, "{start}");
    }
    assert!(proxy.metric(r#"tidepool_upstream_response_seconds_count{upstream="docker.io"}"#).await >= 3);
    assert!(proxy.metric(r#"tidepool_connections{listener="clients"}"#).await >= 1);
    eventually(async || proxy.metric(r#"tidepool_requests_in_flight{listener="clients"}"#).await == 0).await;
}
