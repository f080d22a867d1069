//! Members that go and come back, with the time paused where none has to answer.

use super::*;
use crate::{
    forward::{Honored, Limits},
    identity::Identity,
    metrics::Metrics,
    testing::{Authority, entries},
};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

type Heard = watch::Receiver<BTreeMap<String, Reach>>;

/// In a cluster of so many nodes.
const NODES: u32 = 50;

fn health(member: Option<SocketAddr>) -> (Health, Arc<Routings>, Heard) {
    let routings = Arc::new(Routings::default());
    set(&routings, member);
    let forwarder = Forwarder::new(Arc::clone(&routings), Limits::default(), Metrics::default(), Honored::default());
    let (send, receive) = watch::channel(BTreeMap::new());
    let last = tidepool_config::NodesDocument { nodes: NODES, ..tidepool_config::NodesDocument::new(Vec::new()) };
    let (_, document) = watch::channel(Document::remembered(Some(last)));
    (Health::new(Arc::new(forwarder), Arc::clone(&routings), send, document), routings, receive)
}

fn set(routings: &Routings, members: impl IntoIterator<Item = SocketAddr>) {
    let members = members.into_iter().enumerate();
    let members = members.map(|(number, address)| (format!("m-{number}"), address)).collect();
    let routes = [("docker.io".parse().unwrap(), "m".to_owned())].into();
    routings.set(routes, [("m".to_owned(), "u".to_owned())].into(), &[("m".to_owned(), members)].into());
}

impl Health {
    /// Looks, waits for the answers, and looks again.
    async fn settle(&mut self) {
        self.look();
        while let Some(member) = self.answers.next().await {
            self.heard(&member);
        }
        self.look();
    }
}

/// Answers one question of health as a member does.
async fn answer(listener: &tokio::net::TcpListener, authority: &Authority) {
    let (stream, _) = listener.accept().await.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(authority.member("u", &[authority]));
    let mut stream = acceptor.accept(stream).await.unwrap();
    let mut head = [0; 64];
    let read = stream.read(&mut head).await.unwrap();
    assert!(head[..read].starts_with(b"GET /v2/ "));
    stream.write_all(OK).await.unwrap();
}

#[tokio::test]
async fn a_mirror_without_members_is_down_and_up_as_soon_as_one_answers() {
    let (mut health, routings, reach) = health(None);
    health.look();
    assert_eq!(reach.borrow()["u"], Reach::Down { why: Trouble::NoMember, long: false });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    set(&routings, listener.local_addr().ok());
    health.settle().await;
    assert_eq!(reach.borrow()["u"], Reach::Down { why: Trouble::NoIdentity, long: false });
    let authority = Authority::new();
    health.forwarder.identify(Identity::new(entries(&[&authority], &["u"])).unwrap());
    tokio::join!(answer(&listener, &authority), health.settle());
    assert_eq!(reach.borrow()["u"], Reach::Up);
    // Nobody accepts any more: it would fail if it asked.
    drop(listener);
    health.settle().await;
    assert_eq!(reach.borrow()["u"], Reach::Up);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_long_down_after_a_minute() {
    let (mut health, _, reach) = health(None);
    for _ in 0..60 {
        health.look();
        assert!(matches!(reach.borrow()["u"], Reach::Down { long: false, .. }));
        tokio::time::advance(LOOK).await;
    }
    health.look();
    assert!(matches!(reach.borrow()["u"], Reach::Down { long: true, .. }));
}

/// When each of the members that are being asked was answered for.
async fn answers(health: &mut Health) -> Vec<Duration> {
    let (began, mut times) = (Instant::now(), Vec::new());
    health.look();
    while let Some(member) = health.answers.next().await {
        health.heard(&member);
        times.push(began.elapsed());
    }
    times
}

/// Addresses where nobody listens: each says so as soon as it is asked.
fn closed() -> impl Iterator<Item = SocketAddr> {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::iter::repeat_n(address, 40)
}

#[tokio::test]
async fn n8_nodes_ask_further_members_at_different_moments_and_the_first_ones_at_once() {
    let (mut health, routings, reach) = health(None);
    let authority = Authority::new();
    health.forwarder.identify(Identity::new(entries(&[&authority], &["u"])).unwrap());
    let width = Duration::from_secs_f64(SHARE * f64::from(NODES));
    set(&routings, closed());
    let times = answers(&mut health).await;
    assert!(times.len() == 40 && times[39] - times[0] < width / 2, "{times:?}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let up = listener.local_addr().unwrap();
    set(&routings, [up]);
    tokio::join!(answers(&mut health), answer(&listener, &authority));
    set(&routings, std::iter::once(up).chain(closed()));
    let times = answers(&mut health).await;
    assert!(times.len() == 40 && times[39] - times[0] > width / 2, "{times:?}");
    assert_eq!(reach.borrow()["u"], Reach::Up);
}

#[tokio::test]
async fn n6_a_member_that_comes_back_is_found_within_a_second_and_no_pull_has_to_try() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (health, routings, mut reach) = health(Some(address));
    let authority = Authority::new();
    health.forwarder.identify(Identity::new(entries(&[&authority], &["u"])).unwrap());
    let member = Arc::clone(&routings.current().members("m")[0]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(health.run(stop.clone()));
    let is_down = |reach: &BTreeMap<String, Reach>| matches!(reach.get("u"), Some(Reach::Down { .. }));
    tokio::time::timeout(Duration::from_secs(20), reach.wait_for(is_down)).await.unwrap().unwrap();
    assert!(!member.may_be_asked());
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let back = Instant::now();
    answer(&listener, &authority).await;
    tokio::time::timeout(Duration::from_secs(20), reach.wait_for(|reach| reach.get("u") == Some(&Reach::Up)))
        .await
        .unwrap()
        .unwrap();
    assert!(member.may_be_asked());
    // A look a second, and whatever else the machine has to do: less than two.
    assert!(back.elapsed() < Duration::from_millis(1900), "{:?}", back.elapsed());
    stop.cancel();
    running.await.unwrap();
}
