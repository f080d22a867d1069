//! Answers that a stand-in gives by itself: challenges, errors, tokens.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::TokenServer;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Where a token is had that reads `repository`.
pub(super) fn challenge(server: &TokenServer, repository: Option<&str>) -> Response<Body> {
    let mut text = format!("Bearer realm=\"{}\",service=\"{}\"", server.realm, server.service);
    if let Some(repository) = repository {
        text.push_str(&format!(",scope=\"repository:{repository}:pull\""));
    }
    unauthorized(&text)
}

/// A demand to log in, with this challenge.
pub(super) fn unauthorized(challenge: &str) -> Response<Body> {
    let mut response = failure(StatusCode::UNAUTHORIZED, "authentication required");
    if let Ok(value) = challenge.parse() {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// What Docker Hub says to who has pulled too much without a login.
pub(super) fn too_many() -> Response<Body> {
    let mut response = failure(StatusCode::TOO_MANY_REQUESTS, "you have reached your unauthenticated pull rate limit");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// An error as registries say it.
pub(super) fn failure(status: StatusCode, message: &str) -> Response<Body> {
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        _ => "UNSUPPORTED",
    };
    json_response(status, &json!({"errors": [{"code": code, "message": message}]}))
}

/// An answer in JSON.
pub(super) fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
