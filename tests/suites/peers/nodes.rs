//! A node's containerd, which fetches large layers in several parts side by side.

use std::collections::BTreeSet;

use tidepool_tests::{Fault, FaultProxy, Image, Times};

use crate::containerd::{Containerd, PART};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::{LOSS, MIB, largest, push};

/// What containerd asked of the proxy, and the proxy of the upstream.
struct Node {
    upstream: FaultProxy,
    asked: FaultProxy,
    containerd: Containerd,
    image: Image,
    _registry: Distribution,
    proxy: Proxy,
}

impl Node {
    fn new(layers: &[u32], fault: impl FnOnce(&FaultProxy, &Image)) -> Self {
        let registry = Distribution::start();
        let image = push(&registry, "app", layers);
        let upstream = registry.behind_faults();
        fault(&upstream, &image);
        let proxy = Proxy::behind(&upstream);
        // Without faults: it notes what is asked.
        let asked = FaultProxy::start(proxy.socket()).unwrap();
        let containerd = Containerd::start(&asked.url());
        Self { upstream, asked, containerd, image, _registry: registry, proxy }
    }

    /// Pulls, and looks for every blob in containerd's store.
    fn pull(&self) {
        self.containerd.pull("docker.io/library/app:1").unwrap();
        for blob in self.image.layers.iter().chain([&self.image.config, &self.image.manifest]) {
            assert!(self.containerd.has(&blob.digest), "{} is missing", blob.digest);
        }
    }

    /// Where the parts of the largest layer begin that were asked for.
    fn parts(&self) -> BTreeSet<u64> {
        let gets = self.asked.gets_of(&largest(&self.image).digest);
        assert!(gets.iter().all(|get| get.path.contains("ns=docker.io") && get.status == Some(206)), "{gets:#?}");
        // Open-ended, each closed early.
        let start = |range: String| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
        gets.into_iter().map(|get| get.range.and_then(start).expect("bytes=N-")).collect()
    }

    /// Whoever is cut off asks again from there.
    fn assert_nothing_broke_off(&self) {
        let parts = self.parts();
        assert!(parts.iter().all(|start| start % PART == 0), "{parts:?}");
    }

    /// Upstream sends the layer once, and what `breaks` broken connections cost.
    fn assert_sent_once(&self, breaks: u64) {
        let (layer, all) = (largest(&self.image), self.image.layers.iter().map(|layer| layer.size).sum::<u64>());
        let read = self.proxy.metric("tidepool_upstream_bytes_total");
        assert!(read <= all + all / 100 + breaks * LOSS, "{read} bytes were read for layers of {all}");
        // Read is less than sent: the first connection, which asks for everything, is given up where another's part
        // begins, and what lies in the kernel then is lost as if it had broken.
        let sent = self.upstream.bytes_of(&layer.digest);
        let most = layer.size * 105 / 100 + (breaks + 1) * LOSS;
        assert!(
            sent <= most,
            "{sent} bytes for a layer of {}: {:#?}",
            layer.size,
            self.upstream.gets_of(&layer.digest)
        );
    }
}

#[test]
fn p7_containerd_fetches_a_cold_layer_in_parts_and_upstream_sends_it_once() {
    let node = Node::new(&[128, 6, 1], |_, _| {});
    node.pull();
    let (parts, layer) = (node.parts(), largest(&node.image));
    assert!(parts.len() as u64 >= layer.size / PART, "asked in parts: {parts:?}");
    node.assert_nothing_broke_off();
    node.assert_sent_once(0);
}

#[test]
fn p7_containerd_pulls_across_a_cut_at_30_percent() {
    let node = Node::new(&[64, 1], |faults, image| {
        let layer = largest(image);
        faults.inject(&layer.digest, Times::Next(1), Fault::Cut(layer.size * 3 / 10));
    });
    node.pull();
    node.assert_nothing_broke_off();
    node.assert_sent_once(1);
}

#[test]
fn p7_containerd_pulls_across_a_reset_and_a_slow_upstream() {
    let node = Node::new(&[32, 1], |faults, image| {
        let layer = largest(image);
        faults.inject(&layer.digest, Times::Next(1), Fault::Reset(layer.size * 3 / 10));
        faults.inject(&layer.digest, Times::Always, Fault::Slow(16 * MIB));
    });
    node.pull();
    node.assert_nothing_broke_off();
    node.assert_sent_once(1);
}

#[test]
fn p5_containerd_keeps_nothing_wrong_of_a_corrupt_upstream() {
    let node = Node::new(&[24], |faults, image| {
        let layer = largest(image);
        faults.inject(&layer.digest, Times::Next(1), Fault::Corrupt(layer.size * 3 / 10));
    });
    let layer = largest(&node.image);
    // The wrong byte is in a part that containerd closes early: it verifies the whole itself, and says so.
    let first = node.containerd.pull("docker.io/library/app:1").unwrap_err();
    assert!(!node.containerd.has(&layer.digest), "something wrong is kept: {first}");
    assert!(!node.proxy.file_of(&layer.digest).exists(), "by the proxy");
    // Another node is not concerned, and this one neither once it has forgotten what it fetched.
    Containerd::start(&node.asked.url()).pull("docker.io/library/app:1").unwrap();
}
