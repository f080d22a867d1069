//! What a member's reply means: something for the runtime, or that another member is to be asked. Pure.

use http::{HeaderMap, StatusCode};
use tidepool_oci::Target;

use super::headers;

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to the runtime.
    Relayed,
    /// The member cannot serve, for a reason of its own; another may.
    Unable,
    /// No member says such a thing.
    Nonsense,
}

/// Judges a reply to a request for `target`.
///
/// A member that says 404, or 503 because its upstream fails, is believed: the others would go upstream each for
/// themselves (design P2, P6). One that says that it is itself the reason (too much going on, its disk) is not the last
/// word, and neither is any other 5xx: it fetched nothing. Nor what a runtime makes the wrong thing of: 401 would have it
/// send the pull secret, 408 and 429 are asked again at once, and other 2xx and 3xx end the pull
/// (`research/node-runtimes.md` 1.4).
pub(super) fn verdict(target: &Target, status: StatusCode, reply: &HeaderMap) -> Verdict {
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if headers::is_content(target, reply) => Verdict::Relayed,
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Verdict::Nonsense,
        StatusCode::SERVICE_UNAVAILABLE if !headers::is_members_own_trouble(reply) => Verdict::Relayed,
        StatusCode::UNAUTHORIZED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => Verdict::Unable,
        other if other.is_client_error() => Verdict::Relayed,
        _ => Verdict::Unable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    fn judged(status: u16, headers: &[(&'static str, &'static str)]) -> Verdict {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let target = Target::Manifest("1".parse().unwrap());
        verdict(&target, StatusCode::from_u16(status).unwrap(), &headers.collect())
    }

    #[test]
    fn n6_a_live_member_is_believed_unless_it_is_itself_the_trouble() {
        for status in [400, 403, 404, 405, 416, 451, 503] {
            assert_eq!(judged(status, &[("retry-after", "5")]), Verdict::Relayed, "{status}");
        }
        for status in [201, 202, 204, 301, 302, 304, 307, 308, 401, 407, 408, 429, 500, 502, 504] {
            assert_eq!(judged(status, &[]), Verdict::Unable, "{status}");
        }
        for error in ["connection_limit_reached", "proxy_internal_error"] {
            let said = format!("tidepool; error={error}").leak();
            assert_eq!(judged(503, &[("proxy-status", said)]), Verdict::Unable, "{error}");
        }
        assert_eq!(judged(503, &[("proxy-status", "tidepool; error=destination_unavailable")]), Verdict::Relayed);
    }

    #[test]
    fn only_content_is_content() {
        assert_eq!(judged(200, &[("content-length", "1")]), Verdict::Nonsense);
        let whole = [("content-length", "1"), ("content-type", "a/b"), ("docker-content-digest", "d")];
        assert_eq!(judged(200, &whole), Verdict::Relayed);
    }
}
