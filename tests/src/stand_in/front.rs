//! What a stand-in answers: tokens, challenges, refusals, and the contents of the registry behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, RANGE, USER_AGENT};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::StandIn;
use super::answers::{Body, challenge, failure, json_response, too_many, unauthorized};
use super::forward::{Backend, Counted};
use super::log::{Log, Request, now_ms};
use super::tokens::{LIFETIME, Tokens};
use super::users::{Login, Users};

/// One registry as its clients see it.
pub(super) struct Front {
    stand_in: StandIn,
    tokens: Tokens,
    users: Users,
    /// Whether who is not logged in gets no manifest.
    limited: AtomicBool,
    /// What every request for contents is answered with; 0 for contents.
    failing: AtomicU16,
    backend: Backend,
    log: Arc<Log>,
}

impl Front {
    pub(super) fn new(stand_in: StandIn, log: Arc<Log>) -> Self {
        let (backend, users) = (Backend::new(stand_in.backend), Users::new(&stand_in));
        let (limited, failing) = (AtomicBool::new(false), AtomicU16::new(0));
        Self { stand_in, tokens: Tokens::default(), users, limited, failing, backend, log }
    }

    /// Its definition.
    pub(super) fn stand_in(&self) -> &StandIn {
        &self.stand_in
    }

    /// Gives a user another password; tokens that the old one got are void.
    pub(super) fn set_password(&self, user: &str, password: &str) {
        self.users.set(user, password);
        self.tokens.revoke(user);
    }

    /// Answers 429 to who is not logged in, or not any more.
    pub(super) fn limit(&self, limited: bool) {
        self.limited.store(limited, Ordering::Relaxed);
    }

    /// Answers every request for contents with this status, or with contents again.
    pub(super) fn fail(&self, status: Option<StatusCode>) {
        self.failing.store(status.map_or(0, |status| status.as_u16()), Ordering::Relaxed);
    }

    /// Answers a request of `client` and sees to its line in the log.
    pub(super) async fn answer(&self, request: hyper::Request<Incoming>, client: &str) -> Response<Body> {
        let mut record = self.record(&request);
        client.clone_into(&mut record.client);
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let login = self.users.login(authorization);
        record.login = login != Login::None;
        record.user = login.name().map(str::to_owned);
        let response = if record.path == "/token" {
            self.token(&login, &mut record)
        } else if let Some(failure) = self.failure() {
            failure
        } else if let Some(refusal) = self.refuse(authorization, &login, &mut record) {
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

    /// The answer of a registry that is out of order.
    fn failure(&self) -> Option<Response<Body>> {
        match StatusCode::from_u16(self.failing.load(Ordering::Relaxed)).ok()? {
            StatusCode::TOO_MANY_REQUESTS => Some(too_many()),
            status => Some(failure(status, "out of order")),
        }
    }

    /// The answer to somebody who may not read, reads too much, or wants to write.
    fn refuse(&self, authorization: Option<&str>, login: &Login, record: &mut Request) -> Option<Response<Body>> {
        let repository = repository(&record.path).map(str::to_owned);
        if let Some(server) = &self.stand_in.tokens {
            let token = self.tokens.allow(authorization, repository.as_deref());
            record.authorized = token.is_some();
            let Some(user) = token else { return Some(challenge(server, repository.as_deref())) };
            record.user = user;
        } else {
            record.authorized = matches!(login, Login::Right(_));
            let open = !self.stand_in.basic && !repository.is_some_and(|name| self.users.is_private(&name));
            if !record.authorized && (!open || *login != Login::None) {
                return Some(unauthorized(&format!("Basic realm=\"{}\"", self.stand_in.name)));
            }
        }
        if self.limited.load(Ordering::Relaxed)
            && record.user.is_none()
            && record.method == "GET"
            && record.is_manifest()
        {
            return Some(too_many());
        }
        let reads = record.method == Method::GET.as_str() || record.method == Method::HEAD.as_str();
        (!reads).then(|| failure(StatusCode::METHOD_NOT_ALLOWED, "a stand-in is written to from behind only"))
    }

    fn token(&self, login: &Login, record: &mut Request) -> Response<Body> {
        if record.method != Method::GET.as_str() {
            // Clients that begin with OAuth's POST go on with GET.
            return failure(StatusCode::METHOD_NOT_ALLOWED, "tokens are had by GET");
        }
        let user = match login {
            Login::Wrong(_) => return failure(StatusCode::UNAUTHORIZED, "incorrect username or password"),
            Login::Right(user) => Some(user.as_str()),
            Login::None => None,
        };
        record.authorized = user.is_some();
        let may = |repository: &str| user.is_some() || !self.users.is_private(repository);
        match self.tokens.issue(&record.query, user, may) {
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
            user: None,
            login: false,
            user_agent: header(USER_AGENT).unwrap_or_default(),
            client: String::new(),
        }
    }
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
