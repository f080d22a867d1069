//! Tests of the listener: who has the port, who gets connections, and that none is lost from one to the next.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinHandle;

use super::*;
use crate::{
    forward::{Honored, Limits, Routings},
    metrics::Metrics,
};

const SOON: Duration = Duration::from_secs(10);

fn forwarder() -> Arc<Forwarder> {
    let routings = Arc::new(Routings::default());
    Arc::new(Forwarder::new(routings, Limits::default(), Metrics::default(), Honored::default()))
}

/// A listener as an agent has it.
struct Agent {
    able: watch::Sender<bool>,
    listening: watch::Receiver<Listening>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    fn start(port: u16, able: bool) -> Self {
        let (able, able_in) = watch::channel(able);
        let (listening_out, listening) = watch::channel(Listening::Starting);
        let drain = Duration::from_secs(2);
        let listener = Listener { port, forwarder: forwarder(), drain, able: able_in, listening: listening_out };
        let stop = CancellationToken::new();
        Self { able, listening, task: tokio::spawn(listener.run(stop.clone())), stop }
    }

    async fn until(&mut self, what: impl FnMut(&Listening) -> bool) -> Listening {
        let said = tokio::time::timeout(SOON, self.listening.wait_for(what)).await;
        said.expect("it says so soon").unwrap().clone()
    }

    async fn listens(mut self) -> Self {
        self.until(|said| *said == Listening::Yes).await;
        self
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task).await.expect("it ends soon").unwrap();
    }
}

/// A port that nobody else gets as long as the socket is there, which does not listen, and lets agents share the port.
fn free_port() -> (u16, tokio::net::TcpSocket) {
    let kept = tokio::net::TcpSocket::new_v4().unwrap();
    kept.set_reuseport(true).unwrap();
    kept.bind(loopback(0)).unwrap();
    (kept.local_addr().unwrap().port(), kept)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A request on a connection of its own, as containerd's first; what was wrong with the reply.
fn ask(address: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = b"GET /v2/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).map_err(|error| format!("write: {error}"))?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(|error| format!("read: {error}"))?;
    if reply.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(format!("reply: {reply:?}")) }
}

#[tokio::test]
async fn a_port_that_is_taken_is_reported_and_had_once_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut agent = Agent::start(port, true);
    let said = agent.until(|said| *said != Listening::Starting).await;
    assert!(
        matches!(&said, Listening::No(why) if why.contains(&port.to_string()) && why.contains("agent.port")),
        "{said:?}"
    );
    drop(taken);
    agent.listens().await.stop().await;
}

#[tokio::test]
async fn n6_an_agent_of_a_release_that_does_not_share_the_port_is_followed_when_it_ends() {
    let before = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = before.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = server::serve(Arc::new(before), forwarder(), Mark::new(), stop.clone(), Duration::ZERO);
    let serving = tokio::spawn(serving);
    let mut agent = Agent::start(port, true);
    assert_eq!(agent.until(|said| *said != Listening::Starting).await, Listening::Behind);
    stop.cancel();
    serving.await.unwrap();
    agent.listens().await.stop().await;
}

#[tokio::test]
async fn n6_an_agent_goes_on_until_the_next_can_serve_and_so_does_that_one() {
    let (port, _kept) = free_port();
    let mut agent = Agent::start(port, true).listens().await;
    for _ in 0..2 {
        let mut next = Agent::start(port, false);
        let still = tokio::time::timeout(Duration::from_millis(500), next.listening.changed()).await;
        assert!(still.is_err(), "it has nothing to serve with: {:?}", next.listening);
        next.able.send_replace(true);
        next.until(|said| *said == Listening::Yes).await;
        agent.stop().await;
        agent = next;
    }
    agent.stop().await;
}

#[tokio::test]
async fn n6_an_agent_that_is_stuck_is_followed_all_the_same() {
    let stuck = server::bind(loopback(0)).unwrap();
    let port = stuck.local_addr().unwrap().port();
    let agent = Agent::start(port, true).listens().await;
    for _ in 0..20 {
        tokio::task::spawn_blocking(move || ask(loopback(port))).await.unwrap().unwrap();
    }
    agent.stop().await;
}

#[tokio::test]
async fn n6_connections_that_wait_for_a_request_are_closed_in_a_hand_over_and_not_reset() {
    let (port, _kept) = free_port();
    let first = Agent::start(port, true).listens().await;
    let mut idle = tokio::net::TcpStream::connect(loopback(port)).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut idle, b"GET /v2/ HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut reply = vec![0; 1024];
    assert!(tokio::io::AsyncReadExt::read(&mut idle, &mut reply).await.unwrap() > 0);
    let second = Agent::start(port, true).listens().await;
    first.stop().await;
    let mut idle = idle.into_std().unwrap();
    idle.set_nonblocking(false).unwrap();
    assert_eq!(idle.read(&mut reply).unwrap_or(1), 0, "a FIN, at once");
    idle.shutdown(Shutdown::Both).unwrap();
    tokio::task::spawn_blocking(move || ask(loopback(port))).await.unwrap().unwrap();
    second.stop().await;
}

/// Clients that connect over and over, as many pulls do.
struct Clients {
    asked: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Clients {
    fn start(port: u16) -> Self {
        let mut clients =
            Self { asked: Arc::default(), failed: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        for _ in 0..8 {
            let (asked, failed, stop) = (clients.asked.clone(), clients.failed.clone(), clients.stop.clone());
            clients.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(failure) = ask(loopback(port)) {
                        failed.lock().unwrap().push(failure);
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        clients
    }

    /// Waits until they have asked so often more.
    async fn ask(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        while self.asked.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        Arc::into_inner(self.failed).unwrap().into_inner().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_no_connection_is_refused_or_reset_over_hand_overs_from_agent_to_agent() {
    const EACH: usize = 60;
    let (port, _kept) = free_port();
    let mut agent = Agent::start(port, true).listens().await;
    let clients = Clients::start(port);
    for _ in 0..5 {
        clients.ask(EACH / 2).await;
        let next = Agent::start(port, true).listens().await;
        agent.stop().await;
        clients.ask(EACH / 2).await;
        agent = next;
    }
    let failed = clients.end();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_no_connection_is_lost_where_three_agents_meet_in_whatever_order_they_end() {
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [2, 0, 1]] {
        let (port, _kept) = free_port();
        let mut agents = Vec::new();
        for _ in 0..3 {
            agents.push(Some(Agent::start(port, true).listens().await));
        }
        let clients = Clients::start(port);
        let [one, other, last] = order;
        for ends in [one, other] {
            clients.ask(30).await;
            agents[ends].take().unwrap().stop().await;
        }
        clients.ask(30).await;
        let failed = clients.end();
        assert!(failed.is_empty(), "{order:?}: {} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
        agents[last].take().unwrap().stop().await;
    }
}

#[tokio::test]
async fn n6_when_the_next_agent_breaks_the_one_before_goes_on() {
    let (port, _kept) = free_port();
    let first = Agent::start(port, true).listens().await;
    let second = Agent::start(port, true).listens().await;
    second.task.abort();
    assert!(second.task.await.is_err());
    for _ in 0..20 {
        tokio::task::spawn_blocking(move || ask(loopback(port))).await.unwrap().unwrap();
    }
    first.stop().await;
}
