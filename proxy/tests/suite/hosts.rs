//! One endpoint under several host names: a name may be one registry's alone.

use http::Method;
use tidepool_config::Upstream;

use crate::{
    fake::{Fake, ONE, TWO},
    proxy::{Got, Proxy},
};

/// A proxy of docker.io and ghcr.io, each with a host name of its own; both hold `library/alpine:1` and `a/b:1`.
async fn two() -> (Proxy, [Fake; 2]) {
    let (hub, github) = (Fake::start().await, Fake::start().await);
    for (fake, manifest) in [(&hub, ONE), (&github, TWO)] {
        for repository in ["library/alpine", "a/b", "ghcr.io/a/b"] {
            fake.tag(repository, "1", manifest);
        }
    }
    let mut other = Upstream::plain("ghcr.io".parse().unwrap());
    other.url = Some(github.url().parse().unwrap());
    other.host = Some("ghcr-io.cache.corp".to_owned());
    let proxy = Proxy::with(&hub, |file| {
        file.upstreams[0].host = Some("Docker-IO.cache.corp".to_owned());
        file.upstreams.push(other);
    });
    (proxy.await, [hub, github])
}

async fn at(proxy: &Proxy, host: &str, path: &str) -> Got {
    proxy.ask(Method::GET, path, &[("host", host)]).await
}

#[tokio::test]
async fn a_host_of_its_own_makes_the_whole_path_a_repository_of_that_registry() {
    let (proxy, [hub, github]) = two().await;
    for (host, path, expected) in [
        ("docker-io.cache.corp", "/v2/alpine/manifests/1", ONE),
        ("docker-io.cache.corp", "/v2/library/alpine/manifests/1", ONE),
        ("docker-io.cache.corp:443", "/v2/a/b/manifests/1", ONE),
        ("DOCKER-io.cache.corp.", "/v2/ghcr.io/a/b/manifests/1", ONE),
        ("ghcr-io.cache.corp", "/v2/a/b/manifests/1", TWO),
        ("ghcr-io.cache.corp", "/v2/library/alpine/manifests/1", TWO),
        // A client that names the registry itself is believed.
        ("docker-io.cache.corp", "/v2/a/b/manifests/1?ns=ghcr.io", TWO),
        // Any other name serves all.
        ("cache.corp", "/v2/a/b/manifests/1", ONE),
        ("cache.corp", "/v2/ghcr.io/a/b/manifests/1", TWO),
    ] {
        assert_eq!(at(&proxy, host, path).await.bytes(), expected.as_bytes(), "{host} {path}");
    }
    assert_eq!(at(&proxy, "ghcr-io.cache.corp", "/v2/alpine/manifests/1").await.status, 404);
    assert!(!github.asked("/v2/alpine/").is_empty() && hub.asked("/v2/alpine/").is_empty());
    assert_eq!(at(&proxy, "ghcr-io.cache.corp", "/v2/").await.status, 200);
}

#[tokio::test]
async fn what_a_client_says_of_a_host_before_is_not_believed() {
    let (proxy, _fakes) = two().await;
    let headers =
        [("host", "cache.corp"), ("x-forwarded-host", "ghcr-io.cache.corp"), ("forwarded", "host=ghcr-io.cache.corp")];
    let got = proxy.ask(Method::GET, "/v2/a/b/manifests/1", &headers).await;
    assert_eq!(got.bytes(), ONE.as_bytes());
}

#[tokio::test]
async fn the_next_page_of_a_list_is_found_under_the_name_and_scheme_that_the_client_used() {
    let (proxy, [_, github]) = two().await;
    for (host, path) in [("ghcr-io.cache.corp", "/v2/a/b/tags/list"), ("cache.corp", "/v2/ghcr.io/a/b/tags/list")] {
        github.forget();
        let forwarded = [("host", host), ("x-forwarded-proto", "https")];
        let got = proxy.ask(Method::GET, &format!("{path}?n=1"), &forwarded).await;
        // Without scheme and host: whatever ended the TLS, the client knows where it asked.
        assert_eq!(got.header("link"), format!("<{path}?last=a&n=1>; rel=\"next\""));
        assert_eq!(at(&proxy, host, &format!("{path}?last=a&n=1")).await.status, 200);
        assert_eq!(github.asked("GET /v2/a/b/tags/list").len(), 2);
    }
}
