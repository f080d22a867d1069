//! Bytes out: sent from the file where that can be, and right whatever happens to client, file and store meanwhile.

use std::{os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    agents::agents,
    certificates::{Authority, MIRROR, Peer, write_member},
    fake::{Fake, Fault, noise},
    proxy::{Proxy, eventually, files},
};

const SENDFILE: &str = "tidepool_sent_bytes_total{path=\"sendfile\"}";
const COPY: &str = "tidepool_sent_bytes_total{path=\"copy\"}";

/// A client that sees what is on the wire.
struct Wire<S>(S);

impl Wire<TcpStream> {
    async fn to(proxy: &Proxy) -> Self {
        Self(TcpStream::connect(proxy.address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    async fn ask(&mut self, method: &str, path: &str, headers: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: m\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// The next answer's status and length.
    async fn head(&mut self) -> (u16, usize) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
        (head[9..12].parse().unwrap(), length.parse().unwrap())
    }

    async fn body(&mut self, len: usize) -> Vec<u8> {
        let mut body = vec![0; len];
        let reading = self.0.read_exact(&mut body);
        tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it hangs").unwrap();
        body
    }

    /// What comes until the connection ends.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let reading = self.0.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it hangs");
        rest
    }
}

/// A proxy that keeps a blob, and the blob.
async fn keeping(len: usize) -> (Fake, Proxy, String, Bytes) {
    let fake = Fake::start().await;
    let (bytes, proxy) = (noise(len, 9), Proxy::of(&fake).await);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    assert!(proxy.get(&path).await.bytes() == bytes);
    (fake, proxy, path, bytes)
}

/// The blob's file.
fn file_of(proxy: &Proxy, digest: &str) -> PathBuf {
    let hex = digest.rsplit(':').next().unwrap();
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str() == Some(hex);
    files(&proxy.store().join("blobs")).into_iter().find(is_it).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_answers_of_all_sizes_share_one_connection_also_when_asked_for_at_once() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    let sizes = [0, 1, 65_536, 65_537, 1 << 20, (5 << 20) + 3, 7, 3 << 20];
    let blobs: Vec<_> = sizes.iter().zip(1..).map(|(size, seed)| noise(*size, seed)).collect();
    let paths: Vec<_> = blobs.iter().map(|bytes| format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()))).collect();
    for path in &paths {
        proxy.get(path).await;
    }
    let proxy = proxy.restarted().await; // which counts from 0
    let mut wire = Wire::to(&proxy).await;
    for at_once in [false, true] {
        if at_once {
            for path in &paths {
                wire.ask("HEAD", path, "").await;
                wire.ask("GET", path, "").await;
            }
        }
        for (path, bytes) in paths.iter().zip(&blobs) {
            if !at_once {
                wire.ask("HEAD", path, "").await;
                wire.ask("GET", path, "").await;
            }
            assert_eq!(wire.head().await, (200, bytes.len()), "HEAD");
            assert_eq!(wire.head().await, (200, bytes.len()));
            assert!(wire.body(bytes.len()).await == *bytes, "{} at once: {at_once}", bytes.len());
        }
    }
    let large: usize = sizes.iter().filter(|size| **size > 65_536).sum();
    eventually(async || proxy.metric(SENDFILE).await == 2 * large as u64).await; // and nothing that is small
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_readers_of_a_kept_blob_get_it_without_a_copy() {
    let (fake, proxy, path, bytes) = keeping((4 << 20) + 1).await;
    let proxy = proxy.restarted().await; // which counts from 0
    for got in proxy.herd(64, |_| path.clone()).await {
        assert!(got.bytes() == bytes);
    }
    // What was sent is counted when the system call is back, which the reader may be faster than.
    eventually(async || proxy.metric(SENDFILE).await == 64 * bytes.len() as u64).await;
    assert_eq!(proxy.metric(COPY).await, 0);
    assert_eq!(fake.asked("GET").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_client_that_leaves_in_the_middle_harms_nobody_and_leaves_nothing_open() {
    let (_fake, proxy, path, bytes) = keeping(32 << 20).await;
    let file = file_of(&proxy, &path);
    for _ in 0..20 {
        let mut wire = Wire::to(&proxy).await;
        wire.ask("GET", &path, "").await;
        assert_eq!(wire.head().await, (200, bytes.len()));
        wire.body(1000).await;
    }
    let name = file.to_str().unwrap().to_owned();
    let maps = async || std::fs::read_to_string("/proc/self/maps").unwrap().matches(&name).count();
    eventually(async || maps().await == 0).await;
    assert!(proxy.get(&path).await.bytes() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_slow_reader_gets_all_and_keeps_others_from_nothing() {
    let (_fake, proxy, path, bytes) = keeping(32 << 20).await;
    let mut wire = Wire::to(&proxy).await;
    wire.ask("GET", &path, "").await;
    wire.head().await;
    let mut got = Vec::new();
    for _ in 0..8 {
        got.extend(wire.body(1 << 20).await);
        assert!(proxy.get(&path).await.bytes() == bytes);
    }
    got.extend(wire.body(bytes.len() - got.len()).await);
    assert!(got == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_file_cut_short_in_the_middle_breaks_the_connection_and_nothing_else() {
    let (mut fake, proxy, path, bytes) = keeping(64 << 20).await;
    let file = file_of(&proxy, &path);
    let mut wire = Wire::to(&proxy).await;
    wire.ask("GET", &path, "").await;
    assert_eq!(wire.head().await, (200, bytes.len()));
    let mut got = wire.body(1000).await;
    // To read a map of it behind its end would end this process.
    std::fs::File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
    fake.down().await;
    got.extend(wire.rest().await);
    assert!(got.len() < bytes.len() && bytes.starts_with(&got), "{} bytes", got.len());
    fake.up().await;
    // Once the breaker lets a request try.
    eventually(async || proxy.get(&path).await.body.is_ok_and(|got| got == bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_blob_evicted_in_the_middle_is_sent_to_its_end() {
    let (mut fake, proxy, path, bytes) = keeping(64 << 20).await;
    let file = file_of(&proxy, &path);
    let mut wire = Wire::to(&proxy).await;
    wire.ask("GET", &path, "").await;
    let (_, len) = wire.head().await;
    let mut got = wire.body(1000).await;
    std::fs::remove_file(file).unwrap();
    fake.down().await;
    got.extend(wire.body(len - 1000).await);
    assert!(got == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_readers_of_a_fill_in_flight_get_each_byte_as_it_comes() {
    let fake = Fake::start().await;
    let (bytes, proxy) = (noise(8 << 20, 5), Proxy::of(&fake).await);
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    fake.fault("GET", Fault::Slow(30), 1);
    let mut wires = Vec::new();
    for range in ["", "range: bytes=5000000-\r\n"] {
        let mut wire = Wire::to(&proxy).await;
        wire.ask("GET", &path, range).await;
        wires.push(wire);
    }
    for (wire, start) in wires.iter_mut().zip([0, 5_000_000]) {
        let (_, len) = wire.head().await;
        assert!(wire.body(len).await == bytes[start..]);
    }
    assert_eq!(fake.asked("GET").len(), 1);
    assert!(proxy.metric(SENDFILE).await > 8 << 20, "the file of a fill is lent as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_bit_flipped_in_the_middle_of_a_kept_blob_is_healed_within_the_same_answer() {
    for tls in [false, true] {
        let (fake, authority, dir) = (Fake::start().await, Authority::new(), TempDir::new().unwrap());
        write_member(dir.path(), &authority.member(MIRROR), &[&authority]);
        let proxy = Proxy::with(&fake, |file| file.agents = Some(agents(dir.path()))).await;
        let bytes = noise(9 << 20, 6);
        let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
        assert!(proxy.get(&path).await.bytes() == bytes);
        let file = std::fs::File::options().write(true).open(file_of(&proxy, &path)).unwrap();
        file.write_all_at(&[!bytes[5_000_000]], 5_000_000).unwrap();
        let (proxy, path) = (proxy.restarted().await, format!("{path}?ns=docker.io"));
        fake.forget();
        let got = if tls {
            let agent = authority.agent(MIRROR);
            let peer = Peer::new(proxy.agents.unwrap(), &authority, Some(&agent));
            let mut wire = Wire(peer.connect().await.unwrap());
            wire.ask("GET", &path, "").await;
            assert_eq!(wire.head().await, (200, bytes.len()));
            wire.body(bytes.len()).await
        } else {
            proxy.get(&path).await.bytes().to_vec()
        };
        assert!(got == bytes, "tls: {tls}");
        assert_eq!(fake.asked("GET /v2/a/b/blobs").len(), 1, "filled again, once");
        assert!(proxy.metric(if tls { COPY } else { SENDFILE }).await >= bytes.len() as u64);
        assert!(proxy.get(&path).await.bytes() == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_get_the_same_bytes_by_tls() {
    let (fake, authority, dir) = (Fake::start().await, Authority::new(), TempDir::new().unwrap());
    write_member(dir.path(), &authority.member(MIRROR), &[&authority]);
    let proxy = Proxy::with(&fake, |file| file.agents = Some(agents(dir.path()))).await;
    let agent = authority.agent(MIRROR);
    let mut wire = Wire(Peer::new(proxy.agents.unwrap(), &authority, Some(&agent)).connect().await.unwrap());
    let blobs: [Bytes; 4] = [10, 65_536, 1 << 20, (5 << 20) + 3].map(|size| noise(size, size as u64));
    for round in ["cold", "kept"] {
        for bytes in &blobs {
            let path = format!("/v2/a/b/blobs/{}?ns=docker.io", fake.blob(bytes.clone()));
            wire.ask("GET", &path, "").await;
            assert_eq!(wire.head().await, (200, bytes.len()), "{round}");
            assert!(wire.body(bytes.len()).await == *bytes, "{round} {}", bytes.len());
            wire.ask("GET", &path, "range: bytes=3-8,1-2\r\n").await;
            let (status, len) = wire.head().await;
            assert_eq!(status, 206);
            wire.body(len).await;
        }
    }
    assert_eq!(proxy.metric(SENDFILE).await, 0);
    let total: usize = blobs.iter().map(|bytes| bytes.len() + 8).sum();
    assert_eq!(proxy.metric(COPY).await, 2 * total as u64);
}
