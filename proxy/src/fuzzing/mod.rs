//! Doors for fuzzing: each takes any bytes, gives them to a parser of what clients, registries or disks send, and checks
//! what must hold whatever they are. `proxy/fuzz` runs them for as long as one likes, [`tests`] for a moment.

use http::{HeaderMap, HeaderValue, header};
use tidepool_oci::{
    ByteRanges, ContentRange, Digest, Object, RegistryName, RepositoryName, Route, Target, host_name, route_at,
};

use crate::{
    layers::Trace,
    pull::{Part, fuzz_manifest},
    store::{BLOCK, fuzz_names, fuzz_sums},
    upstream::fuzz_challenge,
};

/// The registries that are mirrored here.
const MIRRORED: [&str; 3] = ["docker.io", "ghcr.io", "reg.example.com:5000"];
/// More ranges are no range.
const MOST_RANGES: usize = 1024;
/// What stands between two ranges.
const BETWEEN: u64 = 300;

fn lines(data: &[u8]) -> [&str; 3] {
    let mut lines = std::str::from_utf8(data).unwrap_or_default().splitn(3, '\n');
    [(); 3].map(|()| lines.next().unwrap_or_default())
}

/// A request's path, `ns` and host, in three lines.
pub fn path(data: &[u8]) {
    let [path, ns, host] = lines(data);
    let ns = Some(ns).filter(|ns| !ns.is_empty());
    let own: Option<RegistryName> = host_name(host).and_then(|host| host.parse().ok());
    let is_mirrored = |registry: &RegistryName| MIRRORED.contains(&registry.as_str());
    let own = own.filter(is_mirrored);
    let Ok(Route::Object(object)) = route_at(own.as_ref(), path, ns, is_mirrored) else { return };
    let Object { registry, repository, target } = &object;
    assert!(is_mirrored(registry), "{registry} is not mirrored");
    assert_eq!(repository.as_str().parse::<RepositoryName>().as_ref(), Ok(repository));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    assert!(repository.as_str().bytes().all(is_plain) && repository.as_str().len() <= 255, "{repository}");
    assert!(repository.as_str().split('/').all(|part| !part.is_empty() && part != ".." && part != "."), "{repository}");
    let last = match target {
        Target::Manifest(reference) => format!("manifests/{reference}"),
        Target::Blob(digest) => format!("blobs/{digest}"),
        Target::Tags => "tags/list".to_owned(),
        Target::Referrers(digest) => format!("referrers/{digest}"),
    };
    assert!(last.matches('/').count() == 1 && !last.ends_with("/.."), "{last}");
    // Asked for at the registry's own host by its full name it is the same.
    let again = route_at(Some(registry), &format!("/v2/{repository}/{last}"), None, is_mirrored);
    assert_eq!(again.as_ref(), Ok(&Route::Object(object.clone())));
}

/// A blob's size in eight bytes, and a `Range` header.
pub fn range(data: &[u8]) {
    let Some((size, text)) = data.split_first_chunk::<8>() else { return };
    let (size, text) = (u64::from_le_bytes(*size) >> 8, String::from_utf8_lossy(text));
    if let Some(range) = ContentRange::parse(&text) {
        assert!(range.window.start < range.window.end && range.window.end <= range.size);
        assert_eq!(ContentRange::parse(&range.to_string()), Some(range));
    }
    let Some(ranges) = ByteRanges::parse(&text) else { return };
    let windows = ranges.windows(size).unwrap_or_default();
    assert!(
        windows.len() <= MOST_RANGES && windows.iter().all(|window| window.start < window.end && window.end <= size)
    );
    let Ok(part) = Part::of(Some(&ranges), size) else { return assert!(windows.is_empty()) };
    let digest = Digest::from_raw(tidepool_oci::Algorithm::Sha256, &[7; 32]);
    let length = digest.map_or(0, |digest| part.length(&digest, size));
    assert!(length <= size + BETWEEN * MOST_RANGES as u64, "{length} bytes of {size}");
}

/// The values of `WWW-Authenticate`, in lines.
pub fn challenge(data: &[u8]) {
    let values = data.split(|byte| *byte == b'\n').filter_map(|value| HeaderValue::from_bytes(value).ok());
    let headers: HeaderMap = values.map(|value| (header::WWW_AUTHENTICATE, value)).collect();
    for url in fuzz_challenge(&headers) {
        assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{url}");
    }
}

/// The file of a manifest: its media type, then its bytes.
pub fn manifest(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let bytes = data.get(end + 1..).unwrap_or_default();
    let is_manifest = fuzz_manifest(&String::from_utf8_lossy(&data[..end]), bytes);
    assert!(!is_manifest || bytes.trim_ascii_start().starts_with(b"{"));
    let names = fuzz_names(data);
    assert!(names.len() <= data.len() / 64, "{} digests", names.len());
    for digest in names {
        assert_eq!(digest.to_string().parse().as_ref(), Ok(&digest));
    }
}

/// The checksums beside a blob, behind a head that is right: a size in eight bytes, then those of its blocks.
pub fn sums(data: &[u8]) {
    let Ok(digest) = Digest::from_raw(tidepool_oci::Algorithm::Sha256, &[7; 32]) else { return };
    let size = data.first_chunk::<8>().map_or(0, |size| u64::from_le_bytes(*size));
    for (found, same) in fuzz_sums(&digest, size >> 40, data.get(8..).unwrap_or_default()) {
        assert!(found.size().div_ceil(BLOCK) <= (16 << 20), "more memory than a blob may take");
        assert!(same, "a torn file passes for a whole one");
    }
}

/// A `Host` header; a digest; a `traceparent`.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(host) = host_name(&text) {
        assert!(!host.is_empty() && host.len() <= text.len() && !host.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(registry) = text.parse::<RegistryName>() {
        assert_eq!(RegistryName::from_path_segment(&registry.path_segment()).as_ref(), Ok(&registry));
    }
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let headers = HeaderMap::from_iter([(header::HeaderName::from_static("traceparent"), value)]);
    if let Some(trace) = Trace::of(&headers) {
        assert!(trace.id().len() == 32 && text.contains(trace.id()));
    }
}

#[cfg(test)]
mod tests;
