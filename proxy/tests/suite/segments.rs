//! Any interleaving of readers, ranges, cuts and restarts yields the right bytes, and the upstream sends little more than
//! the blob (P6, P7).

use std::sync::OnceLock;

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;

use crate::{
    fake::{Fake, Fault, noise},
    proxy::Proxy,
};

const MIB: usize = 1 << 20;
const MOST: usize = 40 * MIB;

/// Bytes of which blobs of any length are the first: made once, for it takes time.
fn content(len: usize) -> Bytes {
    static CONTENT: OnceLock<Bytes> = OnceLock::new();
    CONTENT.get_or_init(|| noise(MOST, 99)).slice(..len)
}

/// Something a client does.
#[derive(Clone, Debug)]
enum Client {
    /// Reads from there on, to the end or that far.
    Reads { start: usize, len: Option<usize> },
    /// Reads a little from there on and leaves.
    Leaves { start: usize, after: usize },
}

fn client() -> impl Strategy<Value = Client> {
    let start = prop_oneof![Just(0), 0..MOST];
    let reads = (start.clone(), proptest::option::of(1..4 * MIB)).prop_map(|(start, len)| Client::Reads { start, len });
    prop_oneof![3 => reads, 1 => (start, 1..2 * MIB).prop_map(|(start, after)| Client::Leaves { start, after })]
}

/// Faults that end: how many bytes more than asked for they may cost is known.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (0..20 * MIB).prop_map(Fault::Cut),
        1 => (1 << 20..8 * MIB).prop_map(Fault::AtMost),
        1 => Just(Fault::Status(500)),
        2 => (200_usize << 10..2 << 20).prop_map(Fault::Paced),
    ]
}

async fn act(proxy: &Proxy, path: &str, bytes: &Bytes, client: &Client) {
    match *client {
        Client::Reads { start, .. } | Client::Leaves { start, .. } if start >= bytes.len() => {}
        Client::Reads { start, len } => {
            let end = len.map_or(bytes.len(), |len| (start + len).min(bytes.len()));
            let range = len.map_or(format!("bytes={start}-"), |_| format!("bytes={start}-{}", end - 1));
            let got = proxy.ask(Method::GET, path, &[("range", &range)]).await;
            // All tries may go to faults; what comes whole is right.
            if let Ok(body) = got.body
                && got.status == 206
            {
                assert!(body == bytes[start..end], "{range}");
            }
        }
        Client::Leaves { start, after } => {
            let url = format!("http://{}{path}", proxy.address);
            let request = reqwest::Client::new().get(url).header("range", format!("bytes={start}-"));
            let mut answer = request.send().await.unwrap();
            let mut got = Vec::new();
            while got.len() < after && answer.status() == 206 {
                let Ok(Some(chunk)) = answer.chunk().await else { break };
                got.extend(chunk);
            }
            assert!(answer.status() != 206 || bytes[start..].starts_with(&got), "{start}");
        }
    }
}

async fn run(size: usize, rounds: Vec<Vec<Client>>, faults: Vec<Fault>) {
    let (fake, bytes) = (Fake::start().await, content(size));
    let path = format!("/v2/a/b/blobs/{}", fake.blob(bytes.clone()));
    let count = faults.len();
    faults.into_iter().for_each(|fault| fake.fault("GET", fault, 1));
    let mut proxy = Proxy::of(&fake).await;
    let mut restarts = 0;
    for clients in rounds {
        futures::future::join_all(clients.iter().map(|client| act(&proxy, &path, &bytes, client))).await;
        proxy = proxy.restarted().await;
        restarts += 1;
    }
    fake.mend();
    assert!(proxy.get(&path).await.bytes() == bytes, "in the end all is there and right");
    // A cut and a restart break connections, of which there are four at most; a fill closes one itself.
    let broken = count + restarts * 4 + restarts + 1;
    let most = size + broken * 4 * MIB;
    assert!(fake.sent() <= most as u64, "{} bytes of {size}, {broken} broken: {:?}", fake.sent(), fake.asked("GET"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn p6_p7_any_interleaving_yields_the_right_bytes_and_little_more_than_the_blob_is_sent(
        size in 1..MOST,
        rounds in proptest::collection::vec(proptest::collection::vec(client(), 1..6), 1..3),
        faults in proptest::collection::vec(fault(), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(size, rounds, faults));
    }
}
