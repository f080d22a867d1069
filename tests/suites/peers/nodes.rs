//! A node's containerd, which fetches large layers in several parts side by side.

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
    _parts: (Distribution, Proxy),
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
        Self { upstream, asked, containerd, image, _parts: (registry, proxy) }
    }

    /// Pulls, and says how often upstream sent the largest layer, in hundredths.
    fn pull(&self) {
        self.containerd.pull("docker.io/library/app:1").unwrap();
        for blob in self.image.layers.iter().chain([&self.image.config, &self.image.manifest]) {
            assert!(self.containerd.has(&blob.digest), "{} is missing", blob.digest);
        }
    }

    /// The starts of the parts of the largest layer that were asked for.
    fn parts(&self) -> Vec<String> {
        let gets = self.asked.gets_of(&largest(&self.image).digest);
        assert!(gets.iter().all(|get| get.path.contains("ns=docker.io") && get.status == Some(206)), "{gets:#?}");
        let mut parts: Vec<_> = gets.into_iter().filter_map(|get| get.range).collect();
        parts.sort();
        parts.dedup();
        parts
    }

    fn assert_sent_at_most(&self, breaks: u64) {
        let layer = largest(&self.image);
        let sent = self.upstream.bytes_of(&layer.digest);
        let most = layer.size * 105 / 100 + breaks * LOSS;
        eprintln!("upstream sent {:.3} of a layer of {} MiB", sent as f64 / layer.size as f64, layer.size / MIB);
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
    let node = Node::new(&[64, 6, 1], |_, _| {});
    node.pull();
    let parts = node.parts();
    let layer = largest(&node.image);
    assert!(parts.len() as u64 >= layer.size / PART, "asked in parallel: {parts:?}");
    assert!(parts.iter().all(|part| part.ends_with('-')), "open-ended, each closed early: {parts:?}");
    node.assert_sent_at_most(0);
}

#[test]
fn p7_containerd_pulls_across_a_cut_at_30_percent() {
    let node = Node::new(&[64, 1], |faults, image| {
        let layer = largest(image);
        faults.inject(&layer.digest, Times::Next(1), Fault::Cut(layer.size * 3 / 10));
    });
    node.pull();
    node.assert_sent_at_most(1);
}

#[test]
fn p7_containerd_pulls_across_a_reset_and_a_slow_upstream() {
    let node = Node::new(&[32, 1], |faults, image| {
        let layer = largest(image);
        faults.inject(&layer.digest, Times::Next(1), Fault::Reset(layer.size * 3 / 10));
        faults.inject(&layer.digest, Times::Always, Fault::Slow(16 * MIB));
    });
    node.pull();
    node.assert_sent_at_most(1);
}

#[test]
fn p5_containerd_keeps_nothing_wrong_of_a_corrupt_upstream() {
    let node = Node::new(&[24], |faults, image| {
        let layer = largest(image);
        faults.inject(&layer.digest, Times::Next(1), Fault::Corrupt(layer.size * 3 / 10));
    });
    let layer = largest(&node.image);
    // Its parts are bounded by what it reads of each, so it verifies the whole itself, and asks again.
    let first = node.containerd.pull("docker.io/library/app:1");
    if first.is_err() {
        assert!(!node.containerd.has(&layer.digest), "something wrong is kept");
    }
}
