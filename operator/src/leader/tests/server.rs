//! An API server that holds one Lease, and the ways of candidates to it.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock;

use super::super::{Elector, Leadership};

/// An API server with at most one Lease.
#[derive(Clone, Default)]
pub(super) struct Server(pub(super) Arc<Mutex<Held>>);

#[derive(Default)]
pub(super) struct Held {
    pub(super) lease: Option<Value>,
    version: u64,
    /// Another writes just before the next write.
    pub(super) interferes: bool,
    /// Writes that took place.
    pub(super) writes: usize,
}

/// The way of one candidate to the server.
#[derive(Clone, Default)]
pub(super) struct Link(Arc<Mutex<State>>);

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Up,
    /// Requests get no answer.
    Silent,
    /// Requests get 500.
    Failing,
    /// Writes are done, but the answer is lost.
    Deaf,
}

impl Link {
    pub(super) fn set(&self, state: State) {
        *self.0.lock().unwrap() = state;
    }
}

impl Server {
    /// A candidate and its way here.
    pub(super) fn candidate(&self, name: &str) -> (Elector, Link) {
        let (service, mut requests) = mock::pair::<Request<Body>, Response<Body>>();
        let (server, link) = (self.clone(), Link::default());
        let state = link.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = requests.next_request().await {
                let state = *state.0.lock().unwrap();
                let lost = state == State::Silent || state == State::Deaf && request.method() != Method::GET;
                let (status, body) = match state {
                    State::Up | State::Deaf => server.answer(request).await,
                    State::Silent => (StatusCode::OK, Value::Null),
                    State::Failing => (StatusCode::INTERNAL_SERVER_ERROR, failure(500, "InternalError")),
                };
                if lost {
                    tokio::spawn(async move {
                        let _unanswered = send;
                        std::future::pending::<()>().await;
                    });
                    continue;
                }
                let body = Body::from(body.to_string().into_bytes());
                send.send_response(Response::builder().status(status).body(body).unwrap());
            }
        });
        (Elector::new(Client::new(service, "deep"), ("deep", "tidepool-operator"), name, Leadership::none()), link)
    }

    pub(super) async fn answer(&self, request: Request<Body>) -> (StatusCode, Value) {
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut held = self.0.lock().unwrap();
        if method == Method::GET {
            let lease = held.lease.clone();
            return lease.map_or((StatusCode::NOT_FOUND, failure(404, "NotFound")), |lease| (StatusCode::OK, lease));
        }
        if std::mem::take(&mut held.interferes) {
            held.version += 1;
        }
        let mut lease: Value = serde_json::from_slice(&body).unwrap();
        let expected = held.lease.as_ref().map(|_| json!(held.version.to_string()));
        if lease["metadata"].get("resourceVersion") != expected.as_ref() {
            return (StatusCode::CONFLICT, failure(409, "Conflict"));
        }
        (held.version, held.writes) = (held.version + 1, held.writes + 1);
        lease["metadata"]["resourceVersion"] = json!(held.version.to_string());
        held.lease = Some(lease.clone());
        (StatusCode::OK, lease)
    }

    pub(super) fn holder(&self) -> String {
        self.spec()["holderIdentity"].as_str().unwrap().to_owned()
    }

    pub(super) fn spec(&self) -> Value {
        self.0.lock().unwrap().lease.as_ref().unwrap()["spec"].clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut held = self.0.lock().unwrap();
        held.version += 1;
        let version = json!(held.version.to_string());
        let lease = held.lease.as_mut().unwrap();
        lease["metadata"]["resourceVersion"] = version;
        change(&mut lease["spec"]);
    }
}

pub(super) fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason})
}
