//! Answers of the listener's own: small, sized, and never one that a runtime would stop at.

use http::{HeaderValue, Response, StatusCode, header};
use tidepool_oci::{ErrorBody, ErrorCode};

use super::{ReplyBody, headers::API_VERSION};

/// An error answer with the distribution specification's JSON body.
pub(super) fn error(status: StatusCode, code: ErrorCode, message: &str) -> Response<ReplyBody> {
    // Serialising two strings cannot fail; if it did, an empty body is as good.
    let body = serde_json::to_vec(&ErrorBody::new(code, message)).unwrap_or_default();
    json(status, body)
}

/// `GET /v2/`: this is a registry, and it wants no credentials.
pub(super) fn base() -> Response<ReplyBody> {
    json(StatusCode::OK, b"{}".to_vec())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}
