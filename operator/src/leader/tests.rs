//! Candidates against an API server that holds one Lease, with the time paused.

mod server;

use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams, client::Body};
use serde_json::json;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer as _, filter::FilterLayer};
use tower_test::mock;

use super::*;
use crate::report::report;
use server::{Server, State};

/// How long it takes to lead.
async fn leads_after(elector: &mut Elector) -> Duration {
    let started = Instant::now();
    timeout(Duration::from_secs(120), elector.acquire(false)).await.expect("it never leads");
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_second_stands_by_while_the_first_renews() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire(false).await;
    assert!(first.leadership.is_held() && server.holder().starts_with("first_"));
    let leadership = first.leadership.clone();
    let keeping = tokio::spawn(async move { first.hold().await });
    assert!(timeout(Duration::from_secs(600), second.acquire(false)).await.is_err());
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
    let tasks = [
        tokio::spawn(async move { first.acquire(false).await }),
        tokio::spawn(async move { second.acquire(false).await }),
    ];
    sleep(LEASE - RETRY).await;
    assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_another_starts() {
    for state in [State::Silent, State::Failing, State::Deaf] {
        let server = Server::default();
        let ((mut first, link), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
        first.acquire(false).await;
        let leadership = first.leadership.clone();
        let keeping = tokio::spawn(async move { (first.hold().await, Instant::now()) });
        let taking = tokio::spawn(async move {
            second.acquire(false).await;
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
    first.acquire(false).await;
    assert!(first.leadership.check().is_ok());
    advance(RENEW_WITHIN).await;
    assert!(first.leadership.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_took_is_let_go_at_once() {
    let server = Server::default();
    let (mut first, _) = server.candidate("first");
    first.acquire(false).await;
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
    first.acquire(false).await;
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
        first.acquire(false).await;
        server.change(|spec| spec["renewTime"] = json!(renewed));
        let took = leads_after(&mut second).await;
        assert!(took >= LEASE && took <= LEASE + RETRY * 2, "{renewed}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_is_nonsense_locks_nobody_out() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire(false).await;
    server.change(|spec| spec["leaseDurationSeconds"] = json!(2_000_000_000));
    assert!(leads_after(&mut second).await <= LEASE * 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_taken_at_the_next_look() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    first.acquire(false).await;
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
    first.acquire(false).await;
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
    first.acquire(false).await;
    write().await.expect("it leads");
    advance(RENEW_WITHIN).await;
    let refused = write().await.unwrap_err();
    assert!(report(&refused).contains("does not lead"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn where_nobody_ever_led_an_earlier_operator_is_given_time_to_go() {
    let server = Server::default();
    let ((mut first, _), (mut second, _)) = (server.candidate("first"), server.candidate("second"));
    let taking = tokio::spawn(async move {
        let started = Instant::now();
        first.acquire(true).await;
        started.elapsed()
    });
    sleep(Duration::from_secs(29)).await;
    assert_eq!(server.0.lock().unwrap().writes, 0);
    let took = taking.await.unwrap();
    assert!(took >= Duration::from_secs(30) && took <= Duration::from_secs(30) + RETRY * 2, "{took:?}");
    // Where there is a Lease, whoever led before knows of it: it expires, or is given back.
    let started = Instant::now();
    second.acquire(true).await;
    assert!(started.elapsed() <= LEASE + RETRY * 2, "{:?}", started.elapsed());
    second.release().await;
    let (mut third, _) = server.candidate("third");
    let started = Instant::now();
    third.acquire(true).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    // One that is deleted while it is held is made anew at once.
    server.0.lock().unwrap().lease = None;
    assert!(timeout(RENEW_WITHIN * 2, third.hold()).await.is_err(), "it does not lose it");
    assert!(third.leadership.is_held());
}
