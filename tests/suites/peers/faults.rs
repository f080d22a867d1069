//! Between the proxy and its upstream connections break, stall and lie. Clients get one whole and right image all the same.

use std::time::{Duration, Instant};

use tidepool_tests::{Fault, FaultProxy, Image, Times};

use crate::clients::{digest_of, download, downloading, names, podman, skopeo};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::{LOSS, MIB, largest, push};

/// A registry with `library/app:1`, and faults before it.
pub(crate) struct Setting {
    _upstream: Distribution,
    pub(crate) faults: FaultProxy,
    pub(crate) image: Image,
}

impl Setting {
    pub(crate) fn new(layers: &[u32]) -> Self {
        let upstream = Distribution::start();
        let image = push(&upstream, "app", layers);
        let faults = upstream.behind_faults();
        Self { _upstream: upstream, faults, image }
    }

    /// Has a fault happen to the next request for the largest layer; at 30 %, if it is one that has a place.
    fn break_largest(&self, fault: impl FnOnce(u64) -> Fault) {
        let layer = largest(&self.image);
        self.faults.inject(&layer.digest, Times::Next(1), fault(layer.size * 3 / 10));
    }
}

pub(crate) fn url_of_largest(proxy: &Proxy, image: &Image) -> String {
    format!("{}/v2/library/app/blobs/{}", proxy.url(), largest(image).digest)
}

/// Two clients pull at once across one broken connection.
fn one_right_image_across(fault: impl FnOnce(u64) -> Fault) {
    let setting = Setting::new(&[24, 2]);
    setting.break_largest(fault);
    let proxy = Proxy::behind(&setting.faults);
    let (folder, name) = (tempfile::tempdir().unwrap(), format!("{}/library/app:1", proxy.address()));
    std::thread::scope(|scope| {
        let podman = scope.spawn(|| podman(&[&name], folder.path()));
        assert_eq!(skopeo(&name, folder.path()).as_ref(), Ok(&setting.image.top.digest));
        podman.join().unwrap().unwrap();
    });
    let layer = largest(&setting.image);
    let (sent, asked) = (setting.faults.bytes_of(&layer.digest), setting.faults.gets_of(&layer.digest));
    assert!(asked.len() > 1, "nothing broke: {asked:?}");
    assert!(sent <= layer.size + LOSS, "{sent} bytes for a layer of {}: {asked:#?}", layer.size);
}

#[test]
fn p6_a_cut_connection_is_resumed() {
    one_right_image_across(Fault::Cut);
}

#[test]
fn p6_a_reset_connection_is_resumed() {
    one_right_image_across(Fault::Reset);
}

#[test]
fn p6_a_stalled_connection_is_given_up_and_resumed() {
    one_right_image_across(Fault::Stall);
}

#[test]
fn p6_a_redirect_to_a_host_that_dies_in_the_middle_is_followed_again() {
    let setting = Setting::new(&[24, 2]);
    let layer = largest(&setting.image);
    let store = FaultProxy::start(setting.faults.backend()).unwrap();
    store.inject(&layer.digest, Times::Next(1), Fault::Cut(layer.size * 3 / 10));
    setting.faults.inject("/blobs/", Times::Always, Fault::Redirect(store.url()));
    let proxy = Proxy::behind(&setting.faults);
    let folder = tempfile::tempdir().unwrap();
    let pulled = skopeo(&format!("{}/library/app:1", proxy.address()), folder.path());
    assert_eq!(pulled.as_ref(), Ok(&setting.image.top.digest));
    let sent = store.bytes_of(&layer.digest);
    assert!(sent <= layer.size + LOSS, "{sent} bytes: {:#?}", store.exchanges());
    assert!(setting.faults.gets_of(&layer.digest).len() > 1, "a signed address is used once");
}

/// A body that lies breaks off, nothing of it is kept, and the next pull is right.
fn nothing_wrong_is_given_out_or_kept(fault: impl FnOnce(u64) -> Fault) {
    let setting = Setting::new(&[24, 2]);
    setting.break_largest(fault);
    let proxy = Proxy::behind(&setting.faults);
    let folder = tempfile::tempdir().unwrap();
    let (url, file) = (url_of_largest(&proxy, &setting.image), folder.path().join("blob"));
    let layer = largest(&setting.image);
    let code = download(&url, &file, &[]);
    let whole = file.exists() && digest_of(&file) == layer.digest;
    assert!(code != 0 || whole, "a body that ends well holds something else");
    assert!(whole || !proxy.file_of(&layer.digest).exists(), "something wrong is kept");
    let pulled = skopeo(&format!("{}/library/app:1", proxy.address()), folder.path());
    assert_eq!(pulled.as_ref(), Ok(&setting.image.top.digest));
    assert_eq!(digest_of(&proxy.file_of(&layer.digest)), layer.digest);
}

#[test]
fn p5_a_corrupt_byte_breaks_the_body_and_is_not_kept() {
    nothing_wrong_is_given_out_or_kept(Fault::Corrupt);
}

#[test]
fn p5_an_answer_that_is_short_and_whole_is_not_kept() {
    nothing_wrong_is_given_out_or_kept(|_| Fault::Truncate(5 * MIB));
}

#[test]
fn p4_a_body_that_cannot_go_on_breaks_off() {
    let setting = Setting::new(&[24]);
    let proxy = Proxy::behind(&setting.faults);
    let folder = tempfile::tempdir().unwrap();
    let (layer, file) = (largest(&setting.image), folder.path().join("blob"));
    // It comes to a third, and then every further request is refused.
    setting.break_largest(Fault::Cut);
    setting.faults.inject(&layer.digest, Times::Always, Fault::Status(503));
    let code = download(&url_of_largest(&proxy, &setting.image), &file, &[]);
    assert_eq!(code, 18, "a broken body, and no reset or clean end");
    let got = file.metadata().unwrap().len();
    assert!(got > MIB && got < layer.size, "{got} bytes");
    // Then it resumes where it broke off, by curl and by the proxy.
    setting.faults.heal();
    assert_eq!(download(&url_of_largest(&proxy, &setting.image), &file, &["--continue-at", "-"]), 0);
    assert_eq!(digest_of(&file), layer.digest);
}

#[test]
fn p6_many_readers_of_a_slow_upstream_share_one_transfer() {
    let setting = Setting::new(&[16]);
    let (layer, readers) = (largest(&setting.image), 64);
    setting.faults.inject(&layer.digest, Times::Always, Fault::Slow(8 * MIB));
    let proxy = Proxy::behind(&setting.faults);
    let folder = tempfile::tempdir().unwrap();
    let files = names(folder.path(), readers);
    let url = url_of_largest(&proxy, &setting.image);
    let running: Vec<_> = files.iter().map(|file| downloading(&url, file)).collect();
    for mut reader in running {
        assert!(reader.wait().unwrap().success());
    }
    for file in &files {
        assert_eq!(digest_of(file), layer.digest);
    }
    let sent = setting.faults.bytes_of(&layer.digest);
    assert!(
        sent <= layer.size + LOSS,
        "{sent} bytes for a layer of {}, of which {readers} readers want each",
        layer.size
    );
}

#[test]
fn p1_an_upstream_that_takes_requests_and_never_answers_is_an_answer_in_time() {
    let setting = Setting::new(&[1]);
    let proxy = Proxy::behind(&setting.faults);
    let folder = tempfile::tempdir().unwrap();
    let image = format!("{}/library/app:1", proxy.address());
    skopeo(&image, folder.path()).unwrap();
    for method in ["GET", "HEAD"] {
        setting.faults.inject_to(method, "/v2/", Times::Always, Fault::Hold);
    }
    let status = |path: &str, accept: &str| {
        let begun = Instant::now();
        let url = format!("{}/v2/library/{path}", proxy.url());
        let more = ["--head", "--output", "/dev/null", "--write-out", "%{http_code}", "--header", accept];
        let output = crate::clients::curl_with(&url, &more);
        (String::from_utf8(output.stdout).unwrap(), begun.elapsed())
    };
    let accept = "Accept: application/vnd.oci.image.index.v1+json";
    let (warm, took) = status("app/manifests/1", accept);
    assert_eq!(warm, "200", "what is kept is served");
    // P8 says 2 s, which the outage matrix of the proxy's own suite holds it to. Here curl starts on a machine where other
    // suites run, and what is shown is that it is not P1's 8 s.
    assert!(took < Duration::from_millis(7500), "{took:?}");
    let (cold, took) = status("cold/manifests/1", accept);
    assert_eq!(cold, "503", "an outage is no missing image");
    // Those 8 s, and not the 15 s that a blob has.
    assert!(took < Duration::from_millis(14_500), "{took:?}");
}
