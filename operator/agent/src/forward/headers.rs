//! Which headers and statuses pass between the runtime and a member.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tidepool_oci::{ContentRange, Target, Window};

/// Headers about one connection, and those about credentials: none of ours travel (design P2, and kubelet's pull
/// secrets go to whoever asks for them).
const DROPPED: [HeaderName; 12] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
    header::COOKIE,
    header::WWW_AUTHENTICATE,
    header::SET_COOKIE,
];

/// A runtime's headers for a member.
pub(super) fn for_member(headers: &HeaderMap) -> HeaderMap {
    let mut passed = without_dropped(headers);
    passed.remove(header::HOST);
    passed.remove(header::CONTENT_LENGTH);
    passed
}

/// A member's headers for the runtime.
pub(super) fn for_runtime(headers: &HeaderMap) -> HeaderMap {
    let mut passed = without_dropped(headers);
    passed.remove(header::LOCATION);
    passed
}

fn without_dropped(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut passed = headers.clone();
    for name in DROPPED.iter().chain(&named) {
        passed.remove(name);
    }
    passed
}

/// By which a registry is told from whoever else answers.
pub(super) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Whether a 200 or 206 can be what was asked for: a stranger who got a member's old address says 200 to anything, and
/// a runtime that believes it does not go on to the upstream.
pub(super) fn is_content(target: &Target, headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_sized = content_length(headers).is_some();
    match target {
        Target::Blob(_) => is_sized,
        Target::Manifest(_) => {
            let is_page = media_type.is_none_or(|media_type| media_type.starts_with(b"text/html"));
            is_sized && headers.contains_key(DIGEST) && !is_page
        }
        // One that ends where its connection does may have been cut anywhere.
        Target::Tags | Target::Referrers(_) => is_sized || headers.contains_key(header::TRANSFER_ENCODING),
    }
}

/// Whether a member says of a 503 that it is itself the reason (RFC 9209), rather than its upstream.
pub(super) fn is_members_own_trouble(headers: &HeaderMap) -> bool {
    let said = headers.get(PROXY_STATUS).and_then(|value| value.to_str().ok());
    said.is_some_and(|said| said.contains("error=connection_limit_reached") || said.contains("error=proxy_internal"))
}

/// A reply's `Content-Length`.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The bytes of a blob that a reply holds, and the blob's size; none where that is not said, or where they are several
/// ranges.
pub(super) fn window(status: StatusCode, headers: &HeaderMap) -> Option<ContentRange> {
    if status == StatusCode::OK {
        let size = content_length(headers)?;
        return Window::whole(size).map(|window| ContentRange { window, size });
    }
    let range = (status == StatusCode::PARTIAL_CONTENT).then(|| content_range(headers)).flatten()?;
    (content_length(headers) == Some(range.window.len())).then_some(range)
}

/// A reply's `Content-Range`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    ContentRange::parse(headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_and_of_credentials_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("authorization", "Basic c2VjcmV0"),
            ("range", "bytes=0-"),
            ("host", "127.0.0.1:909"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let passed = for_member(&headers);
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["range"]);
    }
}
