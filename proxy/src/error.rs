//! From error to wire: what each failure looks like to a client, in one table (P2).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tidepool_oci::{ErrorBody, ErrorCode, PathError, RouteError, Unsatisfiable};

use crate::{
    metrics::{Class, RequestResult},
    pull::PullError,
};

/// When to come back where too much is going on, in seconds: most of it is over in a moment.
pub(crate) const RETRY_AFTER: u16 = 2;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why a request is not answered with content.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Not a repository of a mirrored registry.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A repository that the configuration leaves out.
    #[error("repository {repository} of {registry} is not among the repositories mirrored here")]
    Unlisted { registry: String, repository: String },
    /// A write, or another method that the API has not.
    #[error("this is a mirror: only GET and HEAD are served")]
    Method,
    /// No login, or a wrong one, where one is needed; to clients only.
    #[error("log in with a user of this mirror")]
    Unauthorized,
    /// More passwords to check than can be checked in time.
    #[error("too many logins are being checked")]
    Busy,
    /// More is going on than can be done in time.
    #[error("too much is going on here, come back in a moment")]
    Crowded,
    /// No byte of the blob lies in the range.
    #[error(transparent)]
    Range(#[from] Unsatisfiable),
    /// The pull got nothing.
    #[error("{error}")]
    Pull { class: Class, error: PullError },
    /// No answer within the server's own deadline.
    #[error("no answer in time")]
    Late,
}

impl ApiError {
    /// Status and code. Never 408, 429 or a redirect, and 401 to clients only: nodes take those amiss.
    fn wire(&self) -> (StatusCode, ErrorCode) {
        match self {
            Self::Route(RouteError::Path(PathError::Endpoint)) => (StatusCode::NOT_FOUND, ErrorCode::Unsupported),
            Self::Route(RouteError::Path(PathError::Digest(_))) => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
            Self::Route(RouteError::Path(PathError::Tag(_))) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
            Self::Route(RouteError::Name(_)) => (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid),
            Self::Route(RouteError::Registry { .. } | RouteError::NoDefault) | Self::Unlisted { .. } => {
                (StatusCode::NOT_FOUND, ErrorCode::NameUnknown)
            }
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized),
            Self::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid),
            Self::Pull { class, error } if error.is_absence() => (StatusCode::NOT_FOUND, unknown(*class)),
            Self::Pull { .. } | Self::Busy | Self::Crowded | Self::Late => {
                (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable)
            }
        }
    }

    /// How the request counts.
    pub(crate) fn result(&self) -> RequestResult {
        match self {
            Self::Route(_) | Self::Unlisted { .. } | Self::Method | Self::Unauthorized | Self::Range(_) => {
                RequestResult::Refused
            }
            Self::Pull { error, .. } if error.is_absence() => RequestResult::Absent,
            Self::Crowded => RequestResult::Shed,
            Self::Pull { .. } | Self::Busy | Self::Late => RequestResult::Failed,
        }
    }

    /// The error as the log shows it, with its causes.
    pub(crate) fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Pull { error, .. } => error,
            Self::Route(_)
            | Self::Unlisted { .. }
            | Self::Method
            | Self::Unauthorized
            | Self::Range(_)
            | Self::Busy
            | Self::Crowded
            | Self::Late => self,
        }
    }

    /// What says that this member is itself the reason, and another may serve (RFC 9209): where the upstream is, the
    /// others would only ask it again.
    fn own_trouble(&self) -> Option<&'static str> {
        match self {
            Self::Busy | Self::Crowded | Self::Pull { error: PullError::Crowded, .. } => {
                Some("tidepool; error=connection_limit_reached")
            }
            Self::Late
            | Self::Pull {
                error: PullError::NoSpace | PullError::NoRoom | PullError::Store(_) | PullError::Stopped,
                ..
            } => Some("tidepool; error=proxy_internal_error"),
            Self::Route(_)
            | Self::Unlisted { .. }
            | Self::Method
            | Self::Unauthorized
            | Self::Range(_)
            | Self::Pull { .. } => None,
        }
    }

    fn extra_header(&self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::Method => Some((header::ALLOW, HeaderValue::from_static("GET, HEAD"))),
            // Basic, not Bearer: there is no token server, and this host's alone, so without another's name.
            Self::Unauthorized => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"tidepool\"")))
            }
            Self::Range(Unsatisfiable { size }) => {
                HeaderValue::try_from(format!("bytes */{size}")).ok().map(|value| (header::CONTENT_RANGE, value))
            }
            Self::Pull { error, .. } => {
                error.retry_after().map(|left| (header::RETRY_AFTER, HeaderValue::from(left.as_secs() + 1)))
            }
            Self::Busy | Self::Crowded => Some((header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER))),
            Self::Route(_) | Self::Unlisted { .. } | Self::Late => None,
        }
    }
}

/// The code for something that the upstream does not have.
fn unknown(class: Class) -> ErrorCode {
    match class {
        Class::Manifest | Class::Referrers => ErrorCode::ManifestUnknown,
        Class::Blob => ErrorCode::BlobUnknown,
        Class::Tags | Class::Other => ErrorCode::NameUnknown,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.wire();
        let mut response = (status, Json(ErrorBody::new(code, self.to_string()))).into_response();
        response.headers_mut().extend(self.extra_header());
        let own = self.own_trouble().map(|why| (PROXY_STATUS, HeaderValue::from_static(why)));
        response.headers_mut().extend(own);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::UpstreamError;

    #[test]
    fn n6_a_member_says_when_it_is_itself_the_reason_and_only_then() {
        let pull = |error| ApiError::Pull { class: Class::Blob, error };
        for (error, own) in [
            (ApiError::Crowded, true),
            (ApiError::Late, true),
            (pull(PullError::Store(std::sync::Arc::new(std::io::Error::other("EIO")))), true),
            (pull(PullError::Stopped), true),
            (pull(PullError::Upstream(UpstreamError::Limited { retry_after: None })), false),
            (pull(PullError::Late), false),
            (pull(PullError::KnownAbsent), false),
        ] {
            let said = format!("{error:?}");
            assert_eq!(error.into_response().headers().contains_key(PROXY_STATUS), own, "{said}");
        }
    }
}
