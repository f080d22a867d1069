//! Several ranges in one request, as podman asks for the files of an image of zstd:chunked that it lacks.

use std::time::Duration;

use tidepool_tests::{Fault, FaultProxy, ImageSpec, Times, until};

use crate::clients::{curl_with, podman, push_chunked};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::ranges::Layer;
use crate::{MIB, largest};

#[test]
fn p7_podman_pulls_the_files_it_lacks_of_an_image_of_zstd_chunked() {
    let upstream = Distribution::start();
    let folder = tempfile::tempdir().unwrap();
    // The second image's large layer has every other file in common with the first's.
    for (tag, seeds) in [("1", [1, 2, 3, 4, 5, 6, 7, 8]), ("2", [1, 12, 3, 14, 5, 16, 7, 18])] {
        let layout = folder.path().join(tag);
        ImageSpec::new("library/app", tag).files(&seeds).build(&layout).unwrap();
        push_chunked(&layout, &format!("127.0.0.1:{}/library/app:{tag}", upstream.port()));
    }
    let files = |host: &str| {
        let images = ["1", "2"].map(|tag| format!("{host}/library/app:{tag}"));
        podman(&images.each_ref().map(String::as_str), folder.path()).unwrap()
    };
    let expected = files(&format!("127.0.0.1:{}", upstream.port()));
    let proxy = Proxy::start(&upstream);
    let asked = FaultProxy::start(proxy.socket()).unwrap();
    for round in ["cold", "warm"] {
        let before = asked.exchanges().len();
        assert_eq!(files(&asked.address().to_string()), expected, "{round}");
        let several: Vec<_> = asked
            .exchanges()
            .split_off(before)
            .into_iter()
            .filter(|exchange| exchange.range.as_ref().is_some_and(|range| range.contains(',')))
            .collect();
        assert!(!several.is_empty(), "{round}: {:#?}", asked.exchanges());
        assert!(several.iter().all(|exchange| exchange.status == Some(206)), "{round}: {several:#?}");
    }
}

/// The parts of a body of `multipart/byteranges`: their `Content-Range`s and bytes.
fn parts(head: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let boundary = head.split("boundary=").nth(1).unwrap().lines().next().unwrap().trim().trim_matches('"');
    let mark = format!("--{boundary}");
    let find = |from: usize, what: &[u8]| {
        body[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let (mut parts, mut at) = (Vec::new(), find(0, mark.as_bytes()).unwrap() + mark.len());
    while !body[at..].starts_with(b"--") {
        let start = find(at, b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&body[at..start]).to_lowercase();
        let range = head.lines().find_map(|line| line.strip_prefix("content-range: ")).unwrap().to_owned();
        let bounds = range.trim_start_matches("bytes ").split('/').next().unwrap();
        let (first, last) = bounds.split_once('-').unwrap();
        let length = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        parts.push((range, body[start..start + length].to_vec()));
        at = find(start + length, mark.as_bytes()).unwrap() + mark.len();
    }
    parts
}

fn several_ranges(layer: &Layer, proxy: &Proxy, when: &str) {
    let size = layer.bytes.len();
    let output = curl_with(&layer.url(proxy), &["--include", "--range", "1048000-1049999,20000000-20001999,-5"]);
    let head = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (String::from_utf8_lossy(&output.stdout[..head]).into_owned(), &output.stdout[head + 4..]);
    assert!(head.starts_with("HTTP/1.1 206") && head.contains("multipart/byteranges"), "{when}: {head}");
    let expected = [(1_048_000, 2000), (20_000_000, 2000), (size - 5, 5)].map(|(start, length)| {
        (format!("bytes {start}-{}/{size}", start + length - 1), layer.bytes[start..start + length].to_vec())
    });
    assert!(parts(&head, body) == expected, "{when}: {head}");
}

#[test]
fn p7_several_ranges_are_several_parts_on_a_cold_and_on_a_kept_blob() {
    let layer = Layer::new();
    let faults = layer.upstream.behind_faults();
    faults.inject("/blobs/", Times::Always, Fault::Slow(8 * MIB));
    let proxy = Proxy::behind(&faults);
    several_ranges(&layer, &proxy, "cold");
    let kept = || Ok(proxy.file_of(&largest(&layer.image).digest).exists());
    until(Duration::from_secs(120), Duration::from_millis(50), "end of the fill", kept).unwrap();
    several_ranges(&layer, &proxy, "kept");
}
