//! What can go wrong with an upstream.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, StatusCode, header};

/// Why an upstream did not give what it was asked for. Cheap to clone: all who wait for one request get it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// It failed a moment ago and is left alone for a while.
    #[error("the upstream failed a moment ago and is left alone for a while")]
    Resting,
    /// No connection, or it broke before an answer.
    #[error("cannot reach the upstream")]
    Unreachable(#[source] Arc<reqwest::Error>),
    /// No connection to a host that the upstream redirected to.
    #[error("cannot reach a host that the upstream refers to")]
    Elsewhere(#[source] Arc<reqwest::Error>),
    /// That host failed a moment ago and is left alone for a while.
    #[error("a host that the upstream refers to failed a moment ago and is left alone for a while")]
    ElsewhereResting,
    /// That host has trouble, or refuses what the upstream sent us to it for: it is not the one to say what there is.
    #[error("a host that the upstream refers to answered {0}")]
    ElsewhereFailing(StatusCode),
    /// No connection to the upstream's token server.
    #[error("cannot reach the upstream's token server")]
    Realm(#[source] Arc<reqwest::Error>),
    /// No answer in time.
    #[error("the upstream did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// An answer that means trouble on its side, such as 500.
    #[error("the upstream answered {0}")]
    Failing(StatusCode),
    /// 429.
    #[error("the upstream limits our rate")]
    Limited {
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// 404: no such thing there.
    #[error("the upstream has no such thing, it answered {0}")]
    Gone(StatusCode),
    /// 401 or 403: no such thing for us.
    #[error("the upstream refuses it, it answered {0}")]
    Refused(StatusCode),
    /// 401 or 403 to our credentials; they are left alone for a while, or until they change.
    #[error("the upstream refuses our credentials")]
    CredentialsRefused,
    /// Too many show our credentials at once.
    #[error("too many requests with our credentials wait for their turn")]
    Crowded,
    /// A redirect that we do not follow.
    #[error("the upstream redirects {0}")]
    Redirect(&'static str),
    /// An answer that breaks the protocol.
    #[error("the upstream's answer has {0}")]
    Garbage(&'static str),
    /// The body ended early.
    #[error("the upstream broke off its answer")]
    Cut(#[source] Option<Arc<reqwest::Error>>),
    /// We are stopping.
    #[error("the request was given up, for the proxy stops")]
    Stopped,
}

impl UpstreamError {
    /// Whether the upstream said that there is no such thing, rather than failing to say.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Refused(_))
    }

    /// Whether somebody on the way said that we may not have it.
    pub(crate) fn is_refusal(&self) -> bool {
        let refuses = |status: StatusCode| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        matches!(self, Self::Refused(_)) || matches!(self, Self::ElsewhereFailing(status) if refuses(*status))
    }

    /// Whether a GET may do better than the HEAD that ended so: some answer none, and an address signed for GET is no
    /// good for it.
    pub(crate) fn is_of_head(&self) -> bool {
        match self {
            Self::Failing(status) => matches!(*status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST),
            Self::ElsewhereFailing(status) => status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }
}

/// Nobody means more than this; keeps sums of times in bounds.
const LONGEST_WORD: Duration = Duration::from_secs(24 * 3600);

/// More seconds than this are no wait but a point in time, as some send it: seconds since 1970.
const MOST_SECONDS: u64 = 1_000_000_000;

/// The `Retry-After` of an answer: seconds, or a date. One that says "now" says nothing: whoever fails is to have a rest.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let until = |at: SystemTime| at.duration_since(SystemTime::now()).ok();
    let wanted = match text.parse() {
        Ok(seconds) if seconds <= MOST_SECONDS => Some(Duration::from_secs(seconds)),
        Ok(seconds) => UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map_or(Some(LONGEST_WORD), until),
        Err(_) => httpdate::parse_http_date(text).ok().and_then(until),
    };
    wanted.filter(|wanted| !wanted.is_zero()).map(|wanted| wanted.min(LONGEST_WORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn p10_retry_after_is_a_number_of_seconds_or_a_date() {
        assert_eq!(of(" 17 "), Some(Duration::from_secs(17)));
        let soon = SystemTime::now() + Duration::from_secs(60);
        let seconds = soon.duration_since(UNIX_EPOCH).unwrap().as_secs();
        for text in [httpdate::fmt_http_date(soon), seconds.to_string()] {
            let left = of(&text).unwrap();
            assert!((58..=60).contains(&left.as_secs()), "{text}: {left:?}");
        }
        for none in ["", "soon", "-5", "1.5", "0", "1700000000", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of("18446744073709551615"), Some(LONGEST_WORD));
    }
}
