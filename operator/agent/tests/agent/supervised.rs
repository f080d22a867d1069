//! The agent's two processes, killed and stopped; and two agents that follow one another.

use std::io;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::*;

/// A second of silence, the supervisor's own turn, and a busy machine: less than the 20 s of the liveness probe.
const SUPERVISED: Duration = Duration::from_secs(15);

impl Node {
    fn supervisor(&self) -> Pid {
        Pid::from_child(self.agent.as_ref().unwrap())
    }

    /// The supervisor's only child.
    fn forwarder(&self) -> Option<Pid> {
        let id = self.supervisor();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.trim().parse().ok()?)
    }

    /// Waits for a pull that another forwarder than this one serves.
    async fn served_by_another(&self, than: Pid) {
        let began = Instant::now();
        while self.forwarder().is_none_or(|now| now == than) || !self.pull().await.contains("member GET /v2/") {
            assert!(began.elapsed() < SUPERVISED, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the liveness probe says yes.
    fn is_alive(&self) -> bool {
        let mut probe = self.program("probe");
        probe.arg("--admin-socket").arg(self.path("admin.sock")).arg("--run-dir").arg(self.temp.path());
        probe.status().unwrap().success()
    }

    async fn configured() -> Self {
        let node = Self::start().await;
        node.until("configured", |node| node.has_files() && is(&node.cluster, "Ready", "True", "Configured")).await;
        node
    }

    fn signal(&self, signal: Signal, to: &[Pid]) {
        to.iter().for_each(|pid| kill_process(*pid, signal).unwrap());
    }
}

/// Begins a pull whose body does not end, and reads half of it.
fn begin_slow(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // A blob: a manifest would be taken whole before anything of it goes out.
    let digest = "a".repeat(64);
    let request = format!("GET /v2/library/slow/blobs/sha256:{digest}?ns=docker.io HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.read_exact(&mut vec![0; 400_000])?;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_a_forwarder_that_is_killed_ends_its_bodies_with_a_fin_and_another_serves_at_once() {
    let node = Node::configured().await;
    let (port, forwarder) = (node.port, node.forwarder().unwrap());
    let mut body = tokio::task::spawn_blocking(move || begin_slow(port)).await.unwrap().unwrap();
    node.signal(Signal::KILL, &[forwarder]);
    node.served_by_another(forwarder).await;
    let rest = body.read_to_end(&mut Vec::new());
    assert!(rest.as_ref().is_ok_and(|rest| *rest < 600_000), "no FIN in the middle: {rest:?}");
    assert!(node.has_files() && !node.log().contains("no sign of life"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_a_forwarder_that_is_stopped_is_killed_and_another_serves() {
    let node = Node::configured().await;
    let (port, forwarder) = (node.port, node.forwarder().unwrap());
    let mut body = tokio::task::spawn_blocking(move || begin_slow(port)).await.unwrap().unwrap();
    node.signal(Signal::STOP, &[forwarder]);
    node.served_by_another(forwarder).await;
    assert!(body.read_to_end(&mut Vec::new()).is_ok(), "no FIN");
    assert!(node.log().contains("no sign of life"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_a_supervisor_that_stood_still_shows_in_the_probe_and_kills_no_forwarder_that_lives() {
    let node = Node::configured().await;
    let (supervisor, forwarder) = (node.supervisor(), node.forwarder().unwrap());
    assert!(node.is_alive());
    node.signal(Signal::STOP, &[supervisor, forwarder]);
    let began = Instant::now();
    while node.is_alive() {
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The forwarder's first heartbeat comes after the supervisor's first look.
    node.signal(Signal::CONT, &[supervisor]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    node.signal(Signal::CONT, &[forwarder]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.forwarder(), Some(forwarder), "{}", node.log());
    assert!(node.is_alive() && node.pull().await.contains("member GET /v2/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_a_forwarder_does_not_outlive_its_supervisor() {
    let mut node = Node::configured().await;
    let forwarder = node.forwarder().unwrap();
    let mut agent = node.agent.take().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    node.until("ended", |_| test_kill_process(forwarder).is_err()).await;
    assert_eq!(node.pull().await, "", "the port is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_an_agent_serves_beside_the_one_before_and_writes_once_that_has_ended() {
    let mut node = Node::configured().await;
    let writes = node.cluster.writes();
    let second = tempfile::tempdir().unwrap();
    let agent = node.spawn_agent(second.path());
    let ready = |_: &Node| {
        let mut probe = node.program("probe");
        probe.arg("--ready").arg("--admin-socket").arg(second.path().join("admin.sock"));
        probe.stderr(Stdio::null()).status().unwrap().success()
    };
    node.until("ready", ready).await;
    assert!(node.pull().await.contains("member GET /v2/"));
    node.until("seen by the second", |node| node.log().matches("following it").count() == 1).await;
    assert_eq!(node.cluster.writes(), writes, "only one of them reports: {}", node.log());
    assert!(node.stop_agent().await.success(), "{}", node.log());
    node.agent = Some(agent);
    assert!(node.has_files() && node.pull().await.contains("member GET /v2/"));
    node.cluster.change(|objects| objects.document = Some(json!({"version": 1, "mirrors": []}).to_string()));
    node.until("withdrawn by the second", Node::is_as_before).await;
    node.until("said", |node| is(&node.cluster, "Ready", "True", "NoMirror")).await;
}
