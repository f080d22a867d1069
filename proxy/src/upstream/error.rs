//! What can go wrong with an upstream.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, header};

/// Why an upstream did not give what it was asked for. Cheap to clone: all who wait for one request get it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// It failed a moment ago and is left alone for a while.
    #[error("the upstream failed a moment ago and is left alone for a while")]
    Resting,
    /// No connection, or it broke before an answer.
    #[error("cannot reach the upstream")]
    Unreachable(#[source] Arc<reqwest::Error>),
    /// No connection to a host that the upstream redirected to, or named for tokens.
    #[error("cannot reach a host that the upstream refers to")]
    Elsewhere(#[source] Arc<reqwest::Error>),
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
}

/// The `Retry-After` of an answer, where it is a number of seconds, as registries send it.
pub(super) fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let value = answer.headers().get(header::RETRY_AFTER)?;
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
