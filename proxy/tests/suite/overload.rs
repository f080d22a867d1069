//! Clients that want too much, and what a request brings along.

use std::{fs::File, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    fake::{Fake, Fault, ONE, noise},
    program::{Running, configured, get, program},
    proxy::{Proxy, eventually},
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn the_trace_of_a_request_goes_with_all_that_is_asked_upstream_for_it() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let digest = fake.blob("blob");
    let proxy = Proxy::of(&fake).await;
    for path in ["/v2/a/b/manifests/1", &format!("/v2/a/b/blobs/{digest}"), "/v2/a/b/tags/list"] {
        proxy.ask(http::Method::GET, path, &[("traceparent", PARENT), ("tracestate", "a=1")]).await;
    }
    let traces = fake.traces();
    assert!(traces.len() >= 4, "{traces:?}");
    for trace in traces {
        assert!(trace.ends_with(&format!(" {PARENT} a=1")), "{trace}");
    }
    proxy.ask(http::Method::GET, "/v2/a/c/tags/list", &[("traceparent", "00-secret"), ("tracestate", "a=1")]).await;
    assert_eq!(fake.traces().last().unwrap(), "GET - -", "what is none goes nowhere");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_heard() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    for request in [
        "POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n",
        "PUT /v2/a/b/manifests/1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /v2/ HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1000000000000\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        read.expect("it waits for the body").unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 405 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn it_may_open_as_many_files_as_the_system_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"ulimit -S -n 256 && exec "$@""#, "sh", env!("CARGO_BIN_EXE_tidepool-proxy")]);
    command.args(["--listen", "127.0.0.1:0", "--store"]).arg(dir.path()).stdout(std::process::Stdio::piped());
    let running = Running::spawn(command.stderr(std::process::Stdio::null()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).unwrap());
    assert!(soft == hard && soft != "256", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_line_in_the_log_when_it_has_ended() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.tag("a/b", "1", ONE);
    let (digest, left) = (fake.blob("blob"), fake.blob(noise(3_000_000, 1)));
    fake.fault(format!("blobs/{left}"), Fault::Slow(1000), 1);
    let log = dir.path().join("log");
    let mut command = program();
    command.arg("--config").arg(configured(&fake, dir.path())).args(["--log-format", "json"]);
    let running = Running::spawn(command.stderr(File::create(&log).unwrap()));
    let lines = || {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["target"] == "tidepool_proxy::access_log").collect::<Vec<_>>()
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v2/a/b/blobs/{digest}?token=secret", running.url());
    let got = client.get(url).header("traceparent", PARENT).send().await.unwrap();
    got.bytes().await.unwrap();
    eventually(async || lines().len() == 1).await;
    let line = lines().remove(0);
    for (field, value) in [
        ("method", "GET".into()),
        ("path", format!("/v2/a/b/blobs/{digest}").into()),
        ("registry", "docker.io".into()),
        ("repository", "a/b".into()),
        ("status", 200.into()),
        ("result", "fill".into()),
        ("bytes", 4.into()),
        ("trace", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ("cut", serde_json::Value::Null),
        ("level", "INFO".into()),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    assert!(line["headers_ms"].as_u64() <= line["total_ms"].as_u64(), "{line}");
    // Not before its end, and with how far it came.
    let answer = get(running.url(), &format!("/v2/a/b/blobs/{left}")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(lines().len(), 1, "{:?}", lines());
    drop(answer);
    eventually(async || lines().len() == 2).await;
    let line = lines().remove(1);
    assert!(line["cut"] == "client" && line["bytes"].as_u64() < Some(3_000_000), "{line}");
    assert!(!std::fs::read_to_string(&log).unwrap().contains("secret"));
}
