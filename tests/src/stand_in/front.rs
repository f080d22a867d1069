//! What a stand-in answers: tokens, challenges, refusals, and the contents of the registry behind it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RANGE, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::forward::{Backend, Counted};
use super::log::{Log, Request, now_ms};
use super::tokens::{LIFETIME, Tokens};
use super::{StandIn, TokenServer};

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// One registry as its clients see it.
pub(super) struct Front {
    stand_in: StandIn,
    tokens: Tokens,
    backend: Backend,
    log: Arc<Log>,
}

impl Front {
    pub(super) fn new(stand_in: StandIn, log: Arc<Log>) -> Self {
        let backend = Backend::new(stand_in.backend);
        Self { stand_in, tokens: Tokens::default(), backend, log }
    }

    /// Answers a request and sees to its line in the log.
    pub(super) async fn answer(&self, request: hyper::Request<Incoming>) -> Response<Body> {
        let mut record = self.record(&request);
        let response = if record.path == "/token" {
            self.token(&record.query)
        } else if let Some(refusal) = self.refuse(&request, &mut record) {
            refusal
        } else {
            match self.backend.forward(&request).await {
                Ok(response) => return Counted::wrap(response, &request, record, Arc::clone(&self.log)),
                Err(error) => failure(StatusCode::BAD_GATEWAY, &format!("no answer of the backend: {error}")),
            }
        };
        record.status = response.status().as_u16();
        record.complete = true;
        self.log.write(&record);
        response
    }

    /// The answer to somebody who may not read, or who wants to write.
    fn refuse(&self, request: &hyper::Request<Incoming>, record: &mut Request) -> Option<Response<Body>> {
        let repository = repository(&record.path);
        if let Some(server) = &self.stand_in.tokens {
            let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            record.authorized = self.tokens.allow(authorization, repository);
            if !record.authorized {
                return Some(challenge(server, repository));
            }
        }
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        (!reads).then(|| failure(StatusCode::METHOD_NOT_ALLOWED, "a stand-in is written to from behind only"))
    }

    fn token(&self, query: &str) -> Response<Body> {
        match self.tokens.issue(query) {
            Ok(token) => {
                let answer = json!({"token": token, "access_token": token, "expires_in": LIFETIME.as_secs()});
                json_response(StatusCode::OK, &answer)
            }
            Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("no token: {error}")),
        }
    }

    fn record(&self, request: &hyper::Request<Incoming>) -> Request {
        let header = |name: HeaderName| {
            request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Request {
            time_ms: now_ms(),
            registry: self.stand_in.name.clone(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            range: header(RANGE),
            status: 0,
            bytes: 0,
            complete: false,
            authorized: false,
            user_agent: header(USER_AGENT).unwrap_or_default(),
        }
    }
}

fn challenge(server: &TokenServer, repository: Option<&str>) -> Response<Body> {
    let mut text = format!("Bearer realm=\"{}\",service=\"{}\"", server.realm, server.service);
    if let Some(repository) = repository {
        text.push_str(&format!(",scope=\"repository:{repository}:pull\""));
    }
    let mut response = failure(StatusCode::UNAUTHORIZED, "authentication required");
    if let Ok(value) = text.parse() {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// An error as registries say it.
fn failure(status: StatusCode, message: &str) -> Response<Body> {
    let code = if status == StatusCode::UNAUTHORIZED { "UNAUTHORIZED" } else { "UNSUPPORTED" };
    json_response(status, &json!({"errors": [{"code": code, "message": message}]}))
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// The repository of a path below `/v2/`.
fn repository(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/")?;
    ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .find_map(|kind| rest.rfind(kind).and_then(|at| rest.get(..at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_may_have_any_number_of_parts() {
        assert_eq!(repository("/v2/a/b/c/manifests/1"), Some("a/b/c"));
        assert_eq!(repository("/v2/app/blobs/sha256:00"), Some("app"));
        assert_eq!(repository("/v2/"), None);
    }
}
