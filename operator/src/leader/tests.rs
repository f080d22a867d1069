//! Candidates against an API server that holds one Lease, with the time paused.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams, client::Body};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer as _, filter::FilterLayer};
use tower_test::mock;

use super::*;
use crate::report::report;

/// An API server with at most one Lease.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    lease: Option<Value>,
    version: u64,
    /// Another writes just before the next write.
    interferes: bool,
    /// Writes that took place.
    writes: usize,
}

/// The way of one candidate to the server.
#[derive(Clone, Default)]
struct Link(Arc<Mutex<State>>);

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
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
    fn set(&self, state: State) {
        *self.0.lock().unwrap() = state;
    }
}

impl Server {
    /// A candidate and its way here.
    fn candidate(&self, name: &str) -> (Elector, Link) {
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

    async fn answer(&self, request: Request<Body>) -> (StatusCode, Value) {
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

    fn holder(&self) -> String {
        self.spec()["holderIdentity"].as_str().unwrap().to_owned()
    }

    fn spec(&self) -> Value {
        self.0.lock().unwrap().lease.as_ref().unwrap()["spec"].clone()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut held = self.0.lock().unwrap();
        held.version += 1;
        let version = json!(held.version.to_string());
        let lease = held.lease.as_mut().unwrap();
        lease["metadata"]["resourceVersion"] = version;
        change(&mut lease["spec"]);
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason})
}

/// How long it takes to lead.
async fn leads_after(elector: &mut Elector) -> Duration {
    let started = Instant::now();
    timeout(Duration::from_secs(120), elector.acquire()).await.expect("it never leads");
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_second_stands_by_while_the_first_renews() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire().await;
    assert!(first.leadership.is_held() && server.holder().starts_with("first_"));
    let leadership = first.leadership.clone();
    let keeping = tokio::spawn(async move { first.hold().await });
    assert!(timeout(Duration::from_secs(600), second.acquire()).await.is_err());
    assert!(leadership.is_held() && !second.leadership.is_held() && !keeping.is_finished());
    assert_eq!(
        (server.spec()["leaseTransitions"].clone(), server.spec()["leaseDurationSeconds"].clone()),
        (json!(1), json!(15))
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_that_come_at_once_one_leads() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    let tasks =
        [tokio::spawn(async move { first.acquire().await }), tokio::spawn(async move { second.acquire().await })];
    sleep(LEASE - RETRY).await;
    assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_another_starts() {
    for state in [State::Silent, State::Failing, State::Deaf] {
        let server = Server::default();
        let ((mut first, link), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
        first.acquire().await;
        let leadership = first.leadership.clone();
        let keeping = tokio::spawn(async move { (first.hold().await, Instant::now()) });
        let taking = tokio::spawn(async move {
            second.acquire().await;
            Instant::now()
        });
        sleep(Duration::from_secs(60)).await;
        let cut = Instant::now();
        link.set(state);
        let (lost, at) = keeping.await.unwrap();
        assert!(matches!(lost, LeaseLost::Deadline) && at - cut <= RENEW_WITHIN && !leadership.is_held());
        let took = taking.await.unwrap();
        assert!(took - at >= Duration::from_secs(4), "{:?} after the first stopped", took - at);
        assert!(took - cut <= RENEW_WITHIN + LEASE + RETRY * 2, "{:?} after the cut", took - cut);
        assert_eq!(server.spec()["leaseTransitions"], 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_frozen_knows_at_once_that_it_leads_no_more() {
    let server = Server::default();
    let (mut first, _) = server.candidate("first");
    first.acquire().await;
    assert!(first.leadership.check().is_ok());
    advance(RENEW_WITHIN).await;
    assert!(first.leadership.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_took_is_let_go_at_once() {
    let server = Server::default();
    let (mut first, _) = server.candidate("first");
    first.acquire().await;
    server.change(|spec| spec["holderIdentity"] = json!("somebody"));
    let lost = timeout(RETRY * 2, first.hold()).await.expect("it goes on");
    assert!(matches!(lost, LeaseLost::Taken(who) if who == "somebody"));
    assert!(!first.leadership.is_held());
    assert_eq!(server.holder(), "somebody");
}

#[tokio::test(start_paused = true)]
async fn a_write_in_between_is_never_overwritten_and_costs_one_retry() {
    let server = Server::default();
    let (mut first, _) = server.candidate("first");
    first.acquire().await;
    let writes = server.0.lock().unwrap().writes;
    server.0.lock().unwrap().interferes = true;
    assert_eq!(first.candidate.attempt().await.unwrap(), lease::Attempt::Conflict);
    assert_eq!(server.0.lock().unwrap().writes, writes);
    server.change(|_| {});
    assert_eq!(first.candidate.attempt().await.unwrap(), lease::Attempt::Held);
}

#[tokio::test(start_paused = true)]
async fn times_in_the_lease_mean_nothing() {
    for renewed in ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let server = Server::default();
        let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
        first.acquire().await;
        server.change(|spec| spec["renewTime"] = json!(renewed));
        let took = leads_after(&mut second).await;
        assert!(took >= LEASE && took <= LEASE + RETRY * 2, "{renewed}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_is_nonsense_locks_nobody_out() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire().await;
    server.change(|spec| spec["leaseDurationSeconds"] = json!(2_000_000_000));
    assert!(leads_after(&mut second).await <= LEASE * 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_taken_at_the_next_look() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire().await;
    let leadership = first.leadership.clone();
    let waiting = tokio::spawn(async move { leads_after(&mut second).await });
    sleep(Duration::from_secs(1)).await;
    first.release().await;
    assert!(!leadership.is_held());
    assert!(waiting.await.unwrap() <= RETRY * 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_is_not_given_back() {
    let server = Server::default();
    let ((mut first, _), (second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire().await;
    let holder = server.holder();
    second.release().await;
    assert_eq!(server.holder(), holder);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_without_the_lease() {
    let server = Server::default();
    let (mut first, _) = server.candidate("first");
    let (service, mut requests) = mock::pair::<Request<Body>, Response<Body>>();
    let filtered = FilterLayer::new(gate::gate(first.leadership.clone())).layer(service);
    let api = Api::<Lease>::namespaced(Client::new(filtered, "deep"), "deep");
    tokio::spawn(async move {
        while let Some((request, send)) = requests.next_request().await {
            let (status, body) = server.answer(request).await;
            send.send_response(Response::builder().status(status).body(body.to_string().into_bytes().into()).unwrap());
        }
    });
    let write = async || {
        let lease = api.get("tidepool-operator").await.expect("reading needs no lease");
        api.replace("tidepool-operator", &PostParams::default(), &lease).await
    };
    first.acquire().await;
    write().await.expect("it leads");
    advance(RENEW_WITHIN).await;
    let refused = write().await.unwrap_err();
    assert!(report(&refused).contains("does not lead"), "{refused}");
}
