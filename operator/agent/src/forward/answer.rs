//! Answers of the listener's own: small, sized, and never one that a runtime would stop at.

use http::{HeaderValue, Method, Response, StatusCode, header};
use tidepool_oci::{ErrorBody, ErrorCode};

use super::{
    ReplyBody,
    headers::{API_VERSION, DIGEST},
};
use crate::probe_image::Part;

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

/// A part of the probe's image.
pub(super) fn part(part: &Part, method: &Method) -> Response<ReplyBody> {
    let body = if *method == Method::HEAD { ReplyBody::empty() } else { ReplyBody::text(part.bytes.to_vec()) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(part.media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.bytes.len()));
    // A digest is plain letters and digits.
    if let Ok(digest) = HeaderValue::from_str(&part.digest) {
        headers.insert(DIGEST, digest);
    }
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}
