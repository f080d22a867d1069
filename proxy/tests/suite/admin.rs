//! The admin port: what it tells, what it does, and for whom.

use std::time::Duration;

use http::StatusCode;
use tidepool_config::ProxyReport;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use crate::{
    fake::{Fake, Fault, ONE, TWO, noise},
    proxy::Proxy,
};

async fn report(proxy: &Proxy) -> ProxyReport {
    serde_json::from_str(&proxy.admin("/state").await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_in_flight_is_seen_with_how_far_it_is_and_by_no_repositorys_name() {
    let fake = Fake::start().await;
    let digest = fake.blob(noise(3_000_000, 1));
    fake.fault("GET", Fault::Stall(1_100_000), 1);
    let proxy = Proxy::with(&fake, |file| {
        file.storage.as_mut().unwrap().limit = Some("1Gi".parse().unwrap());
    });
    let proxy = proxy.await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v2/secret/name/blobs/{digest}", proxy.address);
    let mut answer = client.get(url).send().await.unwrap();
    let mut read = 0;
    while read < 1_000_000 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    let said = report(&proxy).await;
    assert_eq!((said.fills_in_flight, said.fills.len()), (1, 1), "{said:?}");
    let fill = &said.fills[0];
    assert_eq!((fill.digest.as_str(), fill.registry.as_str()), (digest.to_string().as_str(), "docker.io"));
    assert_eq!((fill.size, fill.connections, fill.readers), (Some(3_000_000), 1, 1), "{fill:?}");
    assert!((1_000_000..3_000_000).contains(&fill.present), "{fill:?}");
    assert_eq!(said.store.limit, Some(1 << 30));
    assert_eq!(proxy.metric("tidepool_store_limit_bytes ").await, 1 << 30);
    assert_eq!(proxy.metric(r#"tidepool_upstream_breaker_open{upstream="docker.io"}"#).await, 0);
    let clients = said.listeners.iter().find(|listener| listener.name == "clients").unwrap();
    assert_eq!((clients.connections, clients.requests_in_flight), (1, 1), "{clients:?}");
    assert_eq!(said.version, env!("CARGO_PKG_VERSION"));
    assert!(!proxy.admin("/state").await.contains("secret"));
}

/// What the program says when asked to purge, and how it ends.
async fn purge(proxy: &Proxy, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepool-proxy"));
    command.args(["purge", "--admin", &proxy.admin.to_string()]).args(arguments);
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_purge_takes_a_tag_a_repository_or_a_digest_out_and_the_next_pull_asks_again() {
    let fake = Fake::start().await;
    fake.tag("library/a", "1", ONE);
    fake.tag("library/a", "2", TWO);
    let digest = fake.blob("blob");
    let proxy = Proxy::of(&fake).await;
    let paths = ["/v2/a/manifests/1".to_owned(), "/v2/a/manifests/2".to_owned(), format!("/v2/a/blobs/{digest}")];
    let pull = async || {
        for path in &paths {
            assert_eq!(proxy.get(path).await.status, 200, "{path}");
        }
    };
    for (arguments, gone, asked) in [
        (vec!["--registry", "docker.io", "--repository", "a", "--tag", "1"], r#""tags":1,"manifests":1,"blobs":0"#, 1),
        (vec!["--registry", "docker.io", "--repository", "a"], r#""tags":2,"manifests":2,"blobs":0"#, 2),
        (vec!["--digest", &digest.to_string()], r#""tags":0,"manifests":0,"blobs":1"#, 1),
        (vec!["--digest", &format!("sha256:{}", "00".repeat(32))], r#""tags":0,"manifests":0,"blobs":0"#, 0),
    ] {
        pull().await;
        let (done, said) = purge(&proxy, &arguments).await;
        assert!(done && said.contains(gone), "{arguments:?}: {said}");
        fake.forget();
        pull().await;
        assert_eq!(fake.asked("GET ").len(), asked, "{arguments:?}: {:?}", fake.asked(""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_purged_is_said_with_the_field_and_nothing_goes() {
    let fake = Fake::start().await;
    fake.tag("library/a", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    proxy.get("/v2/a/manifests/1").await;
    for (arguments, text) in [
        (vec!["--registry", "docker.io", "--repository", "A"], "400 Bad Request: repository: "),
        (vec!["--registry", "no registry", "--repository", "a"], "registry: "),
        (vec!["--registry", "docker.io", "--repository", "a", "--tag", "../1"], "tag: "),
        (vec!["--digest", "sha256:1"], "digest: "),
        (vec!["--repository", "a"], "--registry"),
        (vec![], "--repository"),
    ] {
        let (done, said) = purge(&proxy, &arguments).await;
        assert!(!done && said.contains(text), "{arguments:?}: {said}");
    }
    assert_eq!(proxy.kept("manifests"), 1);
}

#[tokio::test]
async fn only_this_machine_may_purge_and_no_page_in_its_browser() {
    let fake = Fake::start().await;
    fake.tag("library/a", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    proxy.get("/v2/a/manifests/1").await;
    let post = async |from: [u8; 4], host: &str, kind: &str, body: &str| {
        let client = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(from));
        let request = client.build().unwrap().post(format!("http://{}/purge", proxy.admin));
        let request = request.header("host", host).header("content-type", kind).body(body.to_owned());
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (us, json, what) = ([127, 0, 0, 1], "application/json", r#"{"registry":"docker.io","repository":"a"}"#);
    for (from, host, kind, body, status) in [
        // A mesh's sidecar brings others in by this address.
        ([127, 0, 0, 6], "127.0.0.1", json, what, StatusCode::FORBIDDEN),
        (us, "evil.example.com", json, what, StatusCode::FORBIDDEN),
        (us, "127.0.0.1", "text/plain", what, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (us, "127.0.0.1", json, r#"{"digests":"all"}"#, StatusCode::UNPROCESSABLE_ENTITY),
        (us, "127.0.0.1", json, "{}", StatusCode::BAD_REQUEST),
    ] {
        let (got, text) = post(from, host, kind, body).await;
        assert_eq!(got, status, "{host} {kind} {body}: {text}");
        assert!(status != StatusCode::FORBIDDEN || text.contains("kubectl exec"), "{text}");
    }
    for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "origin", "sec-fetch-site"] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("http://{}/purge", proxy.admin)).header(name, "x").body(what);
        let answer = request.header("content-type", json).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}");
    }
    assert_eq!(proxy.kept("manifests"), 1, "it went all the same");
    assert_eq!(post(us, "localhost:8080", json, what).await.0, StatusCode::OK);
    assert_eq!(proxy.kept("manifests"), 0);
}

#[tokio::test]
async fn a_purge_whose_body_never_comes_is_given_up() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    let mut stream = tokio::net::TcpStream::connect(proxy.admin).await.unwrap();
    let head =
        "POST /purge HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    let answered = tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut text)).await;
    answered.expect("it waits for ever").unwrap();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
}
