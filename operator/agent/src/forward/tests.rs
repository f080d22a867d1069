//! Tests of the forwarder over real sockets, with members that misbehave.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, atomic::AtomicUsize},
    time::Duration,
};

use super::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const LIMITS: Limits = Limits {
    connect: Duration::from_millis(300),
    silence: Duration::from_millis(300),
    small: Duration::from_millis(2000),
    blob: Duration::from_millis(2000),
    idle: Duration::from_millis(300),
};

/// What a fake member does with a request.
enum Act {
    /// Writes this and closes.
    Write(String),
    /// Writes this and goes silent.
    Stall(String),
}

struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// A member; `act` gets the head of each request.
    async fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, act) = (Arc::clone(&seen), Arc::new(act));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (log, act) = (Arc::clone(&log), Arc::clone(&act));
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    let is_health = head.starts_with("GET /v2/ ");
                    if !is_health {
                        log.lock().unwrap().push(head.clone());
                    }
                    match act(&head) {
                        Act::Write(text) => stream.write_all(text.as_bytes()).await.unwrap_or_default(),
                        Act::Stall(text) => {
                            stream.write_all(text.as_bytes()).await.unwrap();
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    /// A member that answers everything alike, and is healthy.
    async fn answering(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::start(move |head| Act::Write(if head.starts_with("GET /v2/ ") { OK.to_owned() } else { text.clone() }))
            .await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

struct Rig {
    address: SocketAddr,
    honored: Honored,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Rig {
    /// A forwarder of docker.io to mirror `m` with these members.
    fn start(members: &[SocketAddr]) -> Self {
        let routings = Arc::new(Routings::default());
        let members = members.iter().enumerate().map(|(n, address)| (format!("m-{n}"), *address)).collect();
        let routes = BTreeMap::from([("docker.io".parse().unwrap(), "m".to_owned())]);
        routings.set(routes, &BTreeMap::from([("m".to_owned(), members)]));
        let (honored, stop) = (Honored::default(), CancellationToken::new());
        let forwarder = Arc::new(Forwarder::new(routings, LIMITS, Metrics::default(), honored.clone()));
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(server::serve(listener, forwarder, stop.clone(), Duration::from_secs(2)));
        Self { address, honored, stop, served }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await;
        let reset = read.expect("the forwarder hangs").is_err();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Reply { head: head.to_lowercase(), body: body.to_owned(), reset }
    }
}

struct Reply {
    head: String,
    body: String,
    /// The connection ended with RST.
    reset: bool,
}

impl Reply {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0)
    }
}

fn digest() -> String {
    format!("sha256:{}", "ab".repeat(32))
}

fn blob_path() -> String {
    format!("/v2/library/a/blobs/{}?ns=docker.io", digest())
}

const MANIFEST: &str = "/v2/library/a/manifests/1?ns=docker.io";

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Two addresses in the order in which they are asked for `path`'s key.
fn home_first(first: SocketAddr, second: SocketAddr, key: &str) -> Vec<SocketAddr> {
    let home_is_0 = crate::rendezvous::weight("m-0", key) > crate::rendezvous::weight("m-1", key);
    if home_is_0 { vec![first, second] } else { vec![second, first] }
}

#[tokio::test]
async fn a_request_reaches_the_member_with_path_query_and_the_runtimes_headers() {
    let member = Fake::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndocker-content-digest: d\r\nwww-authenticate: Bearer\r\n\r\nhello",
    )
    .await;
    let rig = Rig::start(&[member.address]);
    let reply = rig
        .ask("GET", MANIFEST, "accept: a/b\r\nauthorization: Basic c2VjcmV0\r\nuser-agent: containerd/2.4\r\n")
        .await;
    assert_eq!((reply.status(), reply.body.as_str()), (200, "hello"));
    assert!(
        reply.head.contains("docker-content-digest: d") && !reply.head.contains("www-authenticate"),
        "{}",
        reply.head
    );
    let seen = member.seen().join("").to_lowercase();
    assert!(seen.starts_with("get /v2/library/a/manifests/1?ns=docker.io http/1.1"), "{seen}");
    assert!(seen.contains("accept: a/b") && !seen.contains("authorization"), "{seen}");
    assert!(rig.honored.get());
}

#[tokio::test]
async fn head_keeps_the_exact_length_and_sends_no_body() {
    let member = Fake::answering("HTTP/1.1 200 OK\r\ncontent-length: 1234567\r\ncontent-type: t/u\r\n\r\n").await;
    let rig = Rig::start(&[member.address]);
    let reply = rig.ask("HEAD", MANIFEST, "").await;
    assert!(reply.status() == 200 && reply.head.contains("content-length: 1234567"), "{}", reply.head);
    assert!(reply.body.is_empty() && !rig.honored.get());
}

#[tokio::test]
async fn what_is_not_a_pull_of_a_mirrored_registry_is_refused_at_once() {
    let rig = Rig::start(&[]);
    assert_eq!(rig.get("/v2/").await.status(), 200);
    for (method, path, status) in [
        ("GET", "/v2/a/manifests/1?ns=quay.io", 404),
        ("GET", "/v2/a/manifests/1", 404),
        ("GET", "/v2/a/blobs/nonsense?ns=docker.io", 404),
        ("GET", "/", 404),
        ("PUT", MANIFEST, 405),
        ("POST", "/v2/a/blobs/uploads/?ns=docker.io", 405),
    ] {
        let reply = rig.ask(method, path, "").await;
        assert_eq!(reply.status(), status, "{method} {path}");
        assert!(reply.body.starts_with("{\"errors\":[{\"code\":"), "{}", reply.body);
    }
}

#[tokio::test]
async fn a_refused_member_is_passed_over_for_the_next_and_then_not_asked_for_a_while() {
    let member = Fake::answering(OK).await;
    let rig = Rig::start(&home_first(nobody(), member.address, "docker.io/library/a"));
    for _ in 0..3 {
        assert_eq!(rig.get(MANIFEST).await.status(), 200);
    }
    assert_eq!(member.seen().len(), 3);
}

#[tokio::test]
async fn without_a_member_that_answers_the_reply_is_503_at_once() {
    let began = Instant::now();
    let empty = Rig::start(&[]);
    assert_eq!(empty.get(MANIFEST).await.status(), 503);
    let dead = Rig::start(&[nobody()]);
    let reply = dead.get(MANIFEST).await;
    assert_eq!(reply.status(), 503);
    assert!(reply.body.contains("UNAVAILABLE"));
    assert_eq!(dead.get(MANIFEST).await.status(), 503);
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_member_that_accepts_and_never_answers_is_dead_after_two_silences() {
    let wedged = Fake::start(|_| Act::Stall(String::new())).await;
    let member = Fake::answering(OK).await;
    let rig = Rig::start(&home_first(wedged.address, member.address, "docker.io/library/a"));
    let began = Instant::now();
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    assert!(began.elapsed() < Duration::from_millis(1200), "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    assert!(began.elapsed() < Duration::from_millis(100), "the breaker did not remember: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_slow_member_that_is_healthy_is_waited_for_until_the_deadline() {
    let slow =
        Fake::start(
            |head| if head.starts_with("GET /v2/ ") { Act::Write(OK.to_owned()) } else { Act::Stall(String::new()) },
        )
        .await;
    let rig = Rig::start(&[slow.address]);
    let began = Instant::now();
    assert_eq!(rig.get(MANIFEST).await.status(), 503);
    let took = began.elapsed();
    assert!(took >= LIMITS.small && took < LIMITS.small + Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn statuses_that_end_a_pull_become_503_and_others_pass() {
    for (status, expected) in
        [(401, 503), (429, 503), (307, 503), (204, 503), (304, 503), (408, 503), (404, 404), (416, 416), (503, 503)]
    {
        let member =
            Fake::answering(format!("HTTP/1.1 {status} X\r\nlocation: http://a\r\ncontent-length: 0\r\n\r\n")).await;
        let rig = Rig::start(&[member.address]);
        let reply = rig.get(MANIFEST).await;
        assert_eq!(reply.status(), expected, "{status}");
        assert!(!reply.head.contains("location"));
    }
}

/// A member that serves `blob` by ranges, and breaks after `cut` bytes of its first `breaks` replies.
async fn breaking(blob: &'static str, cut: usize, breaks: usize, stall: bool) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(move |head| {
        if head.starts_with("GET /v2/ ") {
            return Act::Write(OK.to_owned());
        }
        let range = head.to_lowercase();
        let range = range.lines().find_map(|line| line.strip_prefix("range: bytes=").map(str::to_owned));
        let bounds = range.as_deref().and_then(|range| range.split_once('-'));
        let first: usize = bounds.map_or(0, |(first, _)| first.parse().unwrap());
        let last: usize = bounds.and_then(|(_, last)| last.parse().ok()).unwrap_or(blob.len() - 1);
        let body = &blob[first..=last];
        let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\n\r\n",
            body.len(),
            blob.len()
        );
        if count.fetch_add(1, Ordering::SeqCst) < breaks {
            let text = format!("{head}{}", &body[..cut]);
            return if stall { Act::Stall(text) } else { Act::Write(text) };
        }
        Act::Write(format!("{head}{body}"))
    })
    .await
}

const BLOB: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn a_body_that_breaks_goes_on_with_another_member_where_it_stopped() {
    let (broken, whole) = (breaking(BLOB, 10, 9, false).await, breaking(BLOB, 0, 0, false).await);
    let rig = Rig::start(&home_first(broken.address, whole.address, &digest()));
    let reply = rig.get(&blob_path()).await;
    assert_eq!((reply.status(), reply.body.as_str(), reply.reset), (200, BLOB, false));
    assert!(whole.seen()[0].to_lowercase().contains("range: bytes=10-35"), "{:?}", whole.seen());
}

#[tokio::test]
async fn a_body_that_stalls_goes_on_and_so_does_a_range() {
    let (broken, whole) = (breaking(BLOB, 3, 9, true).await, breaking(BLOB, 0, 0, false).await);
    let rig = Rig::start(&home_first(broken.address, whole.address, &digest()));
    let reply = rig.ask("GET", &blob_path(), "range: bytes=10-19\r\n").await;
    assert_eq!((reply.status(), reply.body.as_str()), (206, "abcdefghij"));
    assert!(whole.seen()[0].to_lowercase().contains("range: bytes=13-19"), "{:?}", whole.seen());
}

#[tokio::test]
async fn an_only_member_that_breaks_once_is_asked_again() {
    let member = breaking(BLOB, 20, 1, false).await;
    let rig = Rig::start(&[member.address]);
    assert_eq!(rig.get(&blob_path()).await.body, BLOB);
}

#[tokio::test]
async fn a_body_that_cannot_go_on_ends_short_of_its_length_and_without_a_reset() {
    let member = breaking(BLOB, 5, 99, false).await;
    let rig = Rig::start(&[member.address]);
    let reply = rig.get(&blob_path()).await;
    assert!(reply.head.contains("content-length: 36"), "{}", reply.head);
    assert_eq!((reply.body.as_str(), reply.reset), ("0123456789abcde".get(..reply.body.len()).unwrap(), false));
    assert!(reply.body.len() < BLOB.len());
}

#[tokio::test]
async fn a_member_that_answers_a_resume_with_other_bytes_is_not_believed() {
    let broken = breaking(BLOB, 10, 1, false).await;
    let other = Fake::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BLOB}", BLOB.len())).await;
    let rig = Rig::start(&home_first(broken.address, other.address, &digest()));
    assert_eq!(rig.get(&blob_path()).await.body, BLOB);
    assert_eq!((broken.seen().len(), other.seen().len()), (2, 1));
}

#[tokio::test]
async fn on_stop_the_port_is_free_at_once_and_streams_under_way_end_well() {
    let member = breaking(BLOB, 3, 1, true).await;
    let rig = Rig::start(&[member.address]);
    let address = rig.address;
    let under_way = async {
        let reply = rig.get(&blob_path()).await;
        assert_eq!(reply.body, BLOB);
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.stop.cancel();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect(address).await.is_err(), "still listening");
        server::bind(address).unwrap();
    };
    tokio::join!(under_way, stop);
    tokio::time::timeout(Duration::from_secs(1), rig.served).await.unwrap().unwrap();
}
