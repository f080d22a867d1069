//! How upstreams are treated: tokens, limits, several addresses, hosts that they redirect to (P10).

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidepool_proxy::Lookup;
use tokio::time::Instant;

use crate::{
    credentials::upstream,
    fake::{Fake, Fault, ONE, TWO, digest_of},
    proxy::{Proxy, eventually},
};

const TAG: &str = "/v2/a/b/manifests/1";
const HUB: &[(&str, &str)] = &[
    ("ratelimit-limit", "100;w=21600"),
    ("ratelimit-remaining", "76;w=21600"),
    ("docker-ratelimit-source", "203.0.113.7"),
];

#[tokio::test]
async fn p10_limits_are_told_and_not_whose_they_are() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(upstream(&proxy).await.health.rate_limit, None);
    fake.fault("/v2/", Fault::Plus(HUB), 2);
    let got = proxy.get(TAG).await;
    assert_eq!(got.status, 200);
    assert!(!got.headers.keys().any(|name| name.as_str().contains("ratelimit")), "{:?}", got.headers);
    let health = upstream(&proxy).await.health;
    let limit = health.rate_limit.clone().unwrap();
    assert_eq!((limit.limit, limit.remaining, limit.window_seconds), (Some(100), Some(76), Some(21600)));
    for (name, value) in [("rate_limit", 100), ("rate_limit_remaining", 76), ("rate_limit_window_seconds", 21600)] {
        let line = format!("tidepool_upstream_{name}{{upstream=\"docker.io\"}}");
        assert_eq!(proxy.metric(&line).await, value, "{name}");
    }
    let told = format!("{} {health:?}", proxy.metrics().await);
    assert!(!told.contains("203.0.113.7"));
    fake.forget();
    assert_eq!(proxy.get(TAG).await.status, 200);
    assert_eq!(fake.asked("GET"), [""; 0], "what Docker Hub counts is not asked for again");
}

#[tokio::test]
async fn p10_a_429_is_obeyed_for_as_long_as_it_says_by_what_is_kept_and_what_is_not() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.tag("a/b", "2", TWO);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(TAG).await.status, 200);
    fake.fault("/v2/", Fault::With(429, "retry-after", "600".into()), 1);
    assert_eq!(proxy.get("/v2/a/b/manifests/2").await.status, 503);
    fake.forget();
    for _ in 0..10 {
        assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
        let got = proxy.get("/v2/a/b/manifests/2").await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, "UNAVAILABLE"));
        assert!((500..=601).contains(&got.header("retry-after").parse::<u64>().unwrap()), "{:?}", got.headers);
    }
    assert_eq!(fake.asked(""), [""; 0], "it is left alone");
    let health = upstream(&proxy).await.health;
    let told = proxy.metric("tidepool_upstream_retry_after_timestamp_seconds").await;
    assert!(told.abs_diff(health.retry_after.unwrap()) <= 1, "{told} {health:?}"); // rounded at different times
    assert!(health.last_failure.unwrap().message.contains("limits our rate"));
}

#[tokio::test]
async fn p10_after_a_429_it_is_asked_again_when_it_said() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    fake.fault("/v2/", Fault::With(429, "retry-after", "2".into()), 1);
    let proxy = Proxy::of(&fake).await;
    let begun = Instant::now();
    assert_eq!(proxy.get(TAG).await.status, 503);
    eventually(async || proxy.get(TAG).await.status == 200).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(fake.asked("HEAD").len(), 2, "and not before");
}

/// What each registry challenges with (`R` is where its token server is), what that answers, and what it must be asked.
const FLOWS: [(&str, &str, &str, &str); 7] = [
    (
        "Docker Hub",
        r#"Bearer realm="R/token",service="registry.docker.io",scope="repository:a/b:pull""#,
        r#"{"token":"t","access_token":"t","expires_in":300,"issued_at":"2026-01-01T00:00:00.123456789Z"}"#,
        "GET /token?service=registry.docker.io&scope=repository%3Aa%2Fb%3Apull",
    ),
    (
        "GHCR",
        r#"Bearer realm="R/token",service="ghcr.io",scope="repository:a/b:pull""#,
        r#"{"token":"t"}"#,
        "GET /token?service=ghcr.io&scope=repository%3Aa%2Fb%3Apull",
    ),
    (
        "Quay",
        r#"Bearer realm="R/v2/auth",service="quay.io",scope="repository:a/b:pull repository:c/d:pull""#,
        r#"{"token":"t"}"#,
        "GET /v2/auth?service=quay.io&scope=repository%3Aa%2Fb%3Apull&scope=repository%3Ac%2Fd%3Apull",
    ),
    (
        "GitLab",
        r#"Bearer realm="R/jwt/auth",service="container_registry",scope="repository:a/b:pull",error="invalid_token""#,
        r#"{"token":"t"}"#,
        "GET /jwt/auth?service=container_registry&scope=repository%3Aa%2Fb%3Apull",
    ),
    (
        "Azure",
        r#"Bearer realm="R/oauth2/token",service="x.azurecr.io",scope="repository:a/b:pull""#,
        r#"{"access_token":"t"}"#,
        "GET /oauth2/token?service=x.azurecr.io&scope=repository%3Aa%2Fb%3Apull",
    ),
    (
        "ECR Public",
        r#"Bearer realm="R/token/",service="public.ecr.aws",scope="aws""#,
        r#"{"token":"t"}"#,
        "GET /token/?service=public.ecr.aws&scope=aws",
    ),
    (
        "no scope, and a realm with a query",
        r#"Basic realm="x", Bearer realm="R/token?tenant=1""#,
        r#"{"token":"t","expires_in":60}"#,
        "GET /token?tenant=1&scope=repository%3Aa%2Fb%3Apull",
    ),
];

#[tokio::test]
async fn p10_each_registrys_way_to_a_token_is_gone() {
    for (name, challenge, grant, expected) in FLOWS {
        let (fake, realm) = (Fake::start().await, Fake::start().await);
        fake.tag("a/b", "1", ONE);
        let challenge = challenge.replace("\"R", &format!("\"{}", realm.url()));
        fake.fault("/v2/a/b/", Fault::With(401, "www-authenticate", challenge), 1);
        realm.fault("GET", Fault::Json(grant), 10);
        let proxy = Proxy::of(&fake).await;
        for _ in 0..2 {
            assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "{name}");
        }
        assert_eq!(realm.asked(""), [expected], "{name}");
        assert_eq!(fake.logins(), ["Bearer t"; 3], "{name}: HEAD and GET, then HEAD");
        let health = upstream(&proxy).await.health;
        assert!(health.tokens == 1 && health.first_token_ends.is_some(), "{name}: {health:?}");
    }
}

#[tokio::test]
async fn p10_a_fresh_token_that_is_refused_is_no_reason_to_go_on_asking() {
    let (fake, realm) = (Fake::start().await, Fake::start().await);
    fake.tag("a/b", "1", ONE);
    let challenge = format!(r#"Bearer realm="{}/token",service="x""#, realm.url());
    fake.fault("/v2/", Fault::With(401, "www-authenticate", challenge), 100);
    realm.fault("GET", Fault::Json(r#"{"token":"t"}"#), 100);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(TAG).await.status, 404);
    assert_eq!((fake.asked("").len(), realm.asked("").len()), (2, 1));
}

#[tokio::test]
async fn p10_a_silent_host_that_blobs_come_from_is_left_alone_and_the_registry_is_not_to_blame() {
    let (fake, cdn) = (Fake::start().await, Fake::start().await);
    fake.tag("a/b", "1", ONE);
    cdn.fault("/", Fault::Silent, 1000);
    fake.fault("/blobs/", Fault::Redirect(format!("{}/x", cdn.url())), 1000);
    let proxy = Proxy::of(&fake).await;
    let blob = format!("/v2/a/b/blobs/{}", digest_of(b"x"));
    let begun = Instant::now();
    assert_eq!(proxy.head(&blob).await.status, 503);
    // 8 s, and whatever else the machine has to do; the next longer deadline is 15 s.
    assert!(begun.elapsed() < Duration::from_millis(14_500), "{:?}", begun.elapsed());
    let again = Instant::now();
    assert_eq!(proxy.get(&blob).await.status, 503);
    assert!(again.elapsed() < Duration::from_millis(7500), "{:?}", again.elapsed());
    assert_eq!(cdn.asked("").len(), 1, "it is left alone");
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
}

#[tokio::test]
async fn p10_a_host_that_is_redirected_to_and_refuses_says_nothing_about_what_there_is() {
    let (fake, cdn) = (Fake::start().await, Fake::start().await);
    for (status, expected) in [(403, 503), (401, 503), (429, 503), (500, 503), (404, 404)] {
        let digest = digest_of(format!("{status}").as_bytes());
        cdn.fault(format!("/{status}"), Fault::Status(status), 100);
        fake.fault(digest.to_string(), Fault::Redirect(format!("{}/{status}", cdn.url())), 100);
        let proxy = Proxy::of(&fake).await;
        assert_eq!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.status, expected, "{status}");
        assert_eq!(proxy.head(&format!("/v2/a/b/blobs/{digest}")).await.status, expected, "{status}");
    }
}

/// A registry at the second of two addresses of one name, and a proxy of it.
async fn at_the_second(host: u8) -> (Fake, SocketAddr, Proxy) {
    let fake = Fake::start_at([127, 78, host, 2]).await;
    fake.tag("a/b", "1", ONE);
    let first = SocketAddr::from(([127, 78, host, 1], fake.address.port()));
    let lookup = Lookup::new(move |name| async move {
        let both = [1, 2].map(|last| ([127, 78, host, last], 0).into());
        if name == "registry.test" { Ok(both.to_vec()) } else { Err(io::Error::other("no such name")) }
    });
    let url = format!("http://registry.test:{}", fake.address.port());
    let proxy = Proxy::with_names(&fake, lookup, |file| file.upstreams[0].url = Some(url.parse().unwrap()));
    let proxy = proxy.await;
    (fake, first, proxy)
}

/// Takes connections at that address and ends them, or leaves them open; how many there were.
fn bad(address: SocketAddr, leaves: bool) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            if !leaves {
                held.push(stream);
            }
        }
    });
    count
}

#[tokio::test]
async fn p10_where_one_address_refuses_or_cuts_the_same_request_goes_to_another() {
    let (_fake, _, proxy) = at_the_second(1).await;
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "refused");
    let (_fake, first, proxy) = at_the_second(2).await;
    let came = bad(first, true);
    for _ in 0..3 {
        assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "cut");
    }
    // The HTTP client itself may try the same address once more.
    assert!((1..=2).contains(&came.load(Ordering::Relaxed)), "it comes last from then on: {came:?}");
}

#[tokio::test]
async fn p10_where_one_address_stays_silent_the_next_request_goes_to_another() {
    let (_fake, first, proxy) = at_the_second(3).await;
    let came = bad(first, false);
    assert_eq!(proxy.get(TAG).await.status, 503);
    eventually(async || proxy.get(TAG).await.status == 200).await;
    assert_eq!(came.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn p10_where_one_address_says_nothing_in_the_handshake_the_next_request_goes_to_another() {
    let fake = Fake::start().await;
    let port = fake.address.port();
    let [first, second] = [1, 2].map(|last| bad(([127, 78, 4, last], port).into(), false));
    let both = [1, 2].map(|last| ([127, 78, 4, last], 0).into()).to_vec();
    let lookup = Lookup::new(move |_| std::future::ready(Ok(both.clone())));
    let url = format!("https://registry.test:{port}");
    let proxy = Proxy::with_names(&fake, lookup, |file| file.upstreams[0].url = Some(url.parse().unwrap())).await;
    assert_eq!(proxy.get(TAG).await.status, 503);
    let seen = || [&first, &second].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(seen(), [1, 0]);
    eventually(async || proxy.get(TAG).await.status == 503 && seen()[1] > 0).await;
    assert_eq!(seen()[0], 1);
}

#[tokio::test]
async fn p10_what_a_token_server_says_of_limits_is_not_the_registrys_word() {
    let (fake, realm) = (Fake::start().await, Fake::start().await);
    fake.tag("a/b", "1", ONE);
    let challenge = format!(r#"Bearer realm="{}/token",service="x""#, realm.url());
    fake.fault("/v2/", Fault::With(401, "www-authenticate", challenge), 1);
    realm.fault("/token", Fault::With(401, HUB[0].0, HUB[0].1.into()), 1);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get(TAG).await.status, 404);
    assert_eq!(realm.asked("/token").len(), 1);
    assert_eq!(upstream(&proxy).await.health.rate_limit, None);
}
