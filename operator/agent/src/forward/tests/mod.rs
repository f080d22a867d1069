//! Tests of the forwarder over real sockets, with members that misbehave.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{LazyLock, Mutex, atomic::AtomicUsize},
    time::Duration,
};

use super::*;
use crate::honored::Evidence;
use crate::testing::{Authority, entries};
use fake::{Act, Fake, Speaks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

mod bodies;
mod failover;
mod fake;
mod rotation;
mod strangers;
mod trust;

/// The operator's, where a test has no other.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

const LIMITS: Limits = Limits {
    connect: Duration::from_millis(1500),
    handshake: Duration::from_millis(1500),
    silence: Duration::from_millis(1000),
    small: Duration::from_millis(6000),
    blob: Duration::from_millis(6000),
    idle: Duration::from_millis(7500),
};

const OK: &str = "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ndocker-content-digest: d\r\ncontent-type: t/u\r\ncontent-length: 2\r\n\r\n{}";

struct Rig {
    address: SocketAddr,
    routings: Arc<Routings>,
    forwarder: Arc<Forwarder>,
    metrics: Metrics,
    honored: Honored,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Rig {
    /// A forwarder of docker.io to mirror `m`, uid `u`, with these members.
    fn start(members: &[SocketAddr]) -> Self {
        let rig = Self::unknown(members);
        rig.forwarder.identify(identity(&[&AUTHORITY], &["u"]));
        rig
    }

    /// The same without an identity.
    fn unknown(members: &[SocketAddr]) -> Self {
        let routings = Arc::new(Routings::default());
        let (metrics, honored, stop) = (Metrics::default(), Honored::default(), CancellationToken::new());
        let forwarder = Forwarder::new(Arc::clone(&routings), LIMITS, metrics.clone(), honored.clone());
        let forwarder = Arc::new(forwarder);
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(server::serve(
            Arc::new(listener),
            Arc::clone(&forwarder),
            Mark::new(),
            stop.clone(),
            Duration::from_secs(2),
        ));
        let rig = Self { address, routings, forwarder, metrics, honored, stop, served };
        rig.route("u", members);
        rig
    }

    fn route(&self, uid: &str, members: &[SocketAddr]) {
        let members = members.iter().enumerate().map(|(n, address)| (format!("m-{n}"), *address)).collect();
        let routes = BTreeMap::from([("docker.io".parse().unwrap(), "m".to_owned())]);
        let uids = BTreeMap::from([("m".to_owned(), uid.to_owned())]);
        self.routings.set(routes, uids, &BTreeMap::from([("m".to_owned(), members)]));
    }

    fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let read = tokio::time::timeout(Duration::from_secs(12), stream.read_to_string(&mut text)).await;
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
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: t/u\r\ndocker-content-digest: d\r\nwww-authenticate: Bearer\r\n\r\nhello",
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
    let member = Fake::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 1234567\r\ncontent-type: t/u\r\ndocker-content-digest: d\r\n\r\n",
    )
    .await;
    let rig = Rig::start(&[member.address]);
    let reply = rig.ask("HEAD", MANIFEST, "").await;
    assert!(reply.status() == 200 && reply.head.contains("content-length: 1234567"), "{}", reply.head);
    assert!(reply.body.is_empty() && !rig.honored.get());
}

#[tokio::test]
async fn n5_the_probes_image_is_served_without_members_and_proves_the_runtime() {
    let rig = Rig::start(&[]);
    let path = "/v2/node/manifests/any?ns=probe.tidepool.invalid";
    assert_eq!(rig.ask("GET", path, "user-agent: curl/8\r\n").await.status(), 200);
    assert_eq!(rig.honored.evidence(), None, "a person looked");
    let head = rig.ask("HEAD", path, "user-agent: containerd/v2.4.2\r\n").await;
    assert!(head.status() == 200 && head.body.is_empty(), "{}", head.head);
    assert_eq!(rig.honored.evidence(), Some(Evidence::Probe));
    let get = rig.get(path).await;
    for header in ["content-length: ", "docker-content-digest: sha256:", "content-type: application/vnd.oci.image"] {
        assert!(head.head.contains(header) && get.head.contains(header), "{header}: {}", get.head);
    }
    let unknown = format!("/v2/node/blobs/sha256:{}?ns=probe.tidepool.invalid", "0".repeat(64));
    assert_eq!(rig.get(&unknown).await.status(), 404, "never asked of anybody");
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
    // Sooner than anybody's silence is noticed.
    assert!(began.elapsed() < LIMITS.silence * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_member_that_accepts_and_never_answers_is_dead_after_two_silences() {
    let wedged = Fake::start(|_| Act::Stall(String::new())).await;
    let member = Fake::answering(OK).await;
    let rig = Rig::start(&home_first(wedged.address, member.address, "docker.io/library/a"));
    let began = Instant::now();
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    assert!(began.elapsed() < LIMITS.silence * 4, "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    assert!(began.elapsed() < LIMITS.silence, "the breaker did not remember: {:?}", began.elapsed());
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
    assert!(took >= LIMITS.small && took < LIMITS.small * 2, "{took:?}");
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

/// An agent's identity for these mirrors, by the last of the authorities.
fn identity(authorities: &[&Authority], uids: &[&str]) -> Identity {
    Identity::new(entries(authorities, uids)).unwrap()
}
