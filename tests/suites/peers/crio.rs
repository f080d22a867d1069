//! The drop-in that the agent writes for CRI-O, read by podman, which reads the same files by the same library.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tidepool_agent::files::Files;
use tidepool_agent::registries_conf::{PullFromMirror, Settings};
use tidepool_tests::{FaultProxy, Image};

use crate::clients::podman_with;
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::{largest, push};

struct Node {
    upstream: Distribution,
    image: Image,
    _proxy: Proxy,
    /// In the agent's place: it notes what podman asks.
    listener: FaultProxy,
    folder: tempfile::TempDir,
}

impl Node {
    fn new(pull_from_mirror: PullFromMirror) -> Self {
        let upstream = Distribution::start();
        let image = push(&upstream, "app", &[2, 1]);
        let proxy = Proxy::start(&upstream);
        let listener = FaultProxy::start(proxy.socket()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("registries.conf.d")).unwrap();
        let mut files = Files::open(&folder.path().join("registries.conf.d"), &folder.path().join("state")).unwrap();
        let registries = BTreeSet::from([upstream.name(), "docker.io".parse().unwrap()]);
        let settings = Settings { port: listener.address().port(), pull_from_mirror };
        let main = Path::new("/etc/containers/registries.conf");
        let outcome = files.reconcile_drop_in(&registries, &BTreeSet::new(), &settings, main);
        assert_eq!(outcome.written, 1, "{outcome:?}");
        Self { upstream, image, _proxy: proxy, listener, folder }
    }

    fn pull(&self, image: &str) -> Result<String, String> {
        podman_with(&self.folder.path().join("registries.conf.d"), &[image], self.folder.path())
    }

    fn by_digest(&self, registry: &str) -> String {
        format!("{registry}/library/app@{}", self.image.manifest.digest)
    }

    /// How often the listener had a path with this part.
    fn asked(&self, part: &str) -> usize {
        self.listener.gets_of(part).len()
    }
}

#[test]
fn n1_podman_pulls_by_digest_through_the_drop_in_and_by_tag_from_upstream() {
    let node = Node::new(PullFromMirror::DigestOnly);
    let (registry, layer) = (node.upstream.name().to_string(), largest(&node.image).digest.clone());
    let tag = node.pull(&format!("{registry}/library/app:1")).unwrap();
    assert_eq!(node.asked("/v2/"), 0, "{:#?}", node.listener.exchanges());
    assert_eq!(node.pull(&node.by_digest(&registry)).unwrap(), tag);
    let path = format!("/v2/{}/library/app", registry.replace(':', "_"));
    assert_eq!(node.asked(&format!("{path}/blobs/{layer}")), 1, "{:#?}", node.listener.exchanges());
    // There is no Docker Hub but behind the mirror.
    assert_eq!(node.pull(&node.by_digest("docker.io")).unwrap(), tag);
    assert_eq!(node.asked(&format!("/v2/docker.io/library/app/blobs/{layer}")), 1);
}

#[test]
fn n1_podman_pulls_by_tag_through_the_mirror_where_that_is_asked_for() {
    let node = Node::new(PullFromMirror::All);
    node.pull("docker.io/library/app:1").unwrap();
    assert!(node.asked("/v2/docker.io/library/app/manifests/1") >= 1, "{:#?}", node.listener.exchanges());
}

#[test]
fn n1_podman_goes_on_upstream_when_nobody_listens() {
    let node = Node::new(PullFromMirror::All);
    let by_digest = node.by_digest(node.upstream.name().as_str());
    drop(node.listener);
    let began = Instant::now();
    podman_with(&node.folder.path().join("registries.conf.d"), &[&by_digest], node.folder.path()).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(node.upstream.transfers_of(&largest(&node.image).digest), 1);
}
