//! From error to wire: what each failure looks like to a client, in one table (P2).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use tidepool_oci::{ErrorBody, ErrorCode, PathError, RouteError, Unsatisfiable};

use crate::{
    metrics::{Class, RequestResult},
    pull::PullError,
};

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
    /// Status and code. Never 401, 408, 429 or a redirect: nodes take those amiss.
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
            Self::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid),
            Self::Pull { class, error } if error.is_absence() => (StatusCode::NOT_FOUND, unknown(*class)),
            Self::Pull { .. } | Self::Late => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        }
    }

    /// How the request counts.
    pub(crate) fn result(&self) -> RequestResult {
        match self {
            Self::Route(_) | Self::Unlisted { .. } | Self::Method | Self::Range(_) => RequestResult::Refused,
            Self::Pull { error, .. } if error.is_absence() => RequestResult::Absent,
            Self::Pull { .. } | Self::Late => RequestResult::Failed,
        }
    }

    /// The error as the log shows it, with its causes.
    pub(crate) fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Pull { error, .. } => error,
            Self::Route(_) | Self::Unlisted { .. } | Self::Method | Self::Range(_) | Self::Late => self,
        }
    }

    fn extra_header(&self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::Method => Some((header::ALLOW, HeaderValue::from_static("GET, HEAD"))),
            Self::Range(Unsatisfiable { size }) => {
                HeaderValue::try_from(format!("bytes */{size}")).ok().map(|value| (header::CONTENT_RANGE, value))
            }
            Self::Route(_) | Self::Unlisted { .. } | Self::Pull { .. } | Self::Late => None,
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
        response
    }
}
