//! The whole program, as the DaemonSet runs it, against a stand-in for the API server and one for a member.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic anywhere")]

mod cluster;
mod supervised;
#[path = "../testing/mod.rs"]
mod testing;
mod trouble;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use cluster::{Cluster, Objects};
use serde_json::json;
use testing::{Authority, entries};
use tokio::io::{AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

const THEIRS: &str = "server = \"https://ghcr.io\" # by hand\n[host.\"https://mirror.example\"]\n";

fn document() -> Option<String> {
    document_of(&["docker.io", "ghcr.io"])
}

fn document_of(registries: &[&str]) -> Option<String> {
    let mirror = json!({"name": "m", "uid": "u", "created": "2026-01-01T00:00:00Z", "mode": "Configure", "registries": registries});
    Some(json!({"version": 1, "mirrors": [mirror]}).to_string())
}

/// One node with somebody's ghcr.io, in a cluster with one mirror and one member.
struct Node {
    authority: Authority,
    temp: tempfile::TempDir,
    cluster: Cluster,
    port: u16,
    agent: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

impl Node {
    async fn start() -> Self {
        let node = Self::without_identity().await;
        node.cluster.change(|objects| objects.secret = Some(entries(&[&node.authority], &["u"])));
        node
    }

    async fn without_identity() -> Self {
        let mut node = Self::without_agent().await;
        node.start_agent();
        node
    }

    async fn without_agent() -> Self {
        let authority = Authority::new();
        let members = vec![member(&authority).await];
        let objects = Objects { document: document(), secret: None, members, daemon_set: true, labels: json!({}) };
        let cluster = Cluster::start(objects).await;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let node = Self { authority, temp: tempfile::tempdir().unwrap(), cluster, port, agent: None };
        fs::create_dir_all(node.path("registry/ghcr.io")).unwrap();
        fs::write(node.path("registry/ghcr.io/hosts.toml"), THEIRS).unwrap();
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn program(&self, command: &str) -> Command {
        let config = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}], contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{}}}}]}}",
            self.cluster.address
        );
        fs::write(self.path("kubeconfig"), config).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_tidepool-agent"));
        program.env_clear().env("KUBECONFIG", self.path("kubeconfig")).env("NODE_NAME", "n").arg(command);
        if command != "probe" {
            program.arg("--registry-dir").arg(self.path("registry")).arg("--state-dir").arg(self.path("state"));
        }
        program
    }

    fn start_agent(&mut self) {
        self.agent = Some(self.spawn_agent(self.temp.path()));
    }

    /// An agent whose pod has this folder of its own.
    fn spawn_agent(&self, run_dir: &Path) -> Child {
        let mut program = self.program("run");
        program.arg("--port").arg(self.port.to_string()).arg("--drain").arg("2");
        program
            .arg("--admin-socket")
            .arg(run_dir.join("admin.sock"))
            .arg("--run-dir")
            .arg(run_dir)
            .arg("--runtime-config-dir")
            .arg(self.path("runtime"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        program.stderr(Stdio::from(log)).spawn().unwrap()
    }

    /// Sends SIGTERM and waits for the end, within the time that Kubernetes gives a pod.
    async fn stop_agent(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().unwrap();
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = agent.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(25), "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn theirs(&self) -> String {
        fs::read_to_string(self.path("registry/ghcr.io/hosts.toml")).unwrap_or_default()
    }

    fn has_files(&self) -> bool {
        self.path("registry/docker.io/hosts.toml").exists()
            && self.theirs().contains(&format!("127.0.0.1:{}", self.port))
    }

    fn is_as_before(&self) -> bool {
        !self.path("registry/docker.io").exists() && self.theirs() == THEIRS
    }

    /// Waits until `done`, or fails with the agent's log.
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        self.within(Duration::from_secs(60), what, done).await;
    }

    async fn within(&self, limit: Duration, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < limit, "not {what}:\n{}\n{}", self.log(), self.cluster.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A pull as containerd does it.
    async fn pull(&self) -> String {
        let port = self.port;
        let ask = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(b"GET /v2/library/a/manifests/1?ns=docker.io HTTP/1.1\r\nhost: a\r\nuser-agent: containerd/2.4.2\r\nconnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        tokio::task::spawn_blocking(ask).await.unwrap().unwrap_or_default()
    }
}

/// A member that answers every request with its first line.
async fn member(authority: &Authority) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(authority.member("u", &[authority]));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut stream = BufReader::new(stream);
            let (mut first, mut line) = (String::new(), String::new());
            let _ = stream.read_line(&mut first).await;
            while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
                line.clear();
            }
            if first.contains("/slow/") {
                tokio::spawn(begin(stream));
                continue;
            }
            let body = format!("member {}", first.trim());
            let reply = format!(
                "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ndocker-content-digest: d\r\ncontent-type: a/b\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(reply.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// Answers with the beginning of a body, and is silent then.
async fn begin(mut stream: impl AsyncWrite + Unpin) {
    let head = "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ndocker-content-digest: d\r\ncontent-type: a/b\r\ncontent-length: 1000000\r\n\r\n";
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&[b'x'; 500_000]).await;
    let _ = stream.flush().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

fn is(cluster: &Cluster, kind: &str, status: &str, reason: &str) -> bool {
    cluster.condition(kind) == (status.to_owned(), reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_uses_the_mirror_says_so_and_is_as_before_when_the_mirror_is_deleted() {
    let node = Node::start().await;
    node.until("configured", |node| node.has_files() && is(&node.cluster, "Ready", "True", "Configured")).await;
    assert_eq!(node.cluster.status()["mirrors"][0]["state"], "Active");
    let runtime = node.cluster.status()["runtime"].clone();
    assert_eq!([&runtime["name"], &runtime["version"], &runtime["configuration"]], ["containerd", "2.4.2", "Doubtful"]);
    // Nobody knows yet, and who does not know leaves that to the operator.
    assert!(is(&node.cluster, "Honored", "", ""));
    let reply = node.pull().await;
    assert!(reply.ends_with("member GET /v2/library/a/manifests/1?ns=docker.io HTTP/1.1"), "{reply}");
    node.until("honored", |node| is(&node.cluster, "Honored", "True", "PullSeen")).await;
    let probe =
        node.program("probe").arg("--ready").arg("--admin-socket").arg(node.path("admin.sock")).status().unwrap();
    assert!(probe.success());
    let writes = node.cluster.writes();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(node.cluster.writes(), writes, "an idle agent writes nothing");
    node.cluster.change(|objects| objects.document = Some(json!({"version": 1, "mirrors": []}).to_string()));
    node.until("withdrawn", Node::is_as_before).await;
    node.until("said", |node| is(&node.cluster, "Ready", "True", "NoMirror")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_files_and_an_agent_without_the_api_server_serves_from_what_it_knew() {
    let mut node = Node::start().await;
    node.until("configured", |node| node.has_files() && is(&node.cluster, "Ready", "True", "Configured")).await;
    assert!(node.stop_agent().await.success(), "{}", node.log());
    assert!(node.has_files());
    assert_eq!(node.pull().await, "", "the port is closed");
    node.cluster.stop().await;
    node.start_agent();
    let began = Instant::now();
    while !node.pull().await.contains("member GET /v2/") {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(node.has_files());
    assert!(node.stop_agent().await.success());
    assert!(node.has_files(), "nobody said that the DaemonSet is gone");
    assert!(!node.log().contains("PRIVATE") && !node.log().contains("CERTIFICATE"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_certificate_says_what_it_waits_for_and_goes_on_with_it() {
    let node = Node::without_identity().await;
    node.until("said", |node| is(&node.cluster, "Ready", "False", "NoIdentity")).await;
    assert_eq!(node.cluster.status()["mirrors"][0]["state"], "Pending");
    assert!(node.pull().await.contains("503") && !node.has_files());
    node.cluster.change(|objects| objects.secret = Some(entries(&[&node.authority], &["u"])));
    node.until("configured", |node| node.has_files() && is(&node.cluster, "Ready", "True", "Configured")).await;
    assert!(node.pull().await.contains("member GET /v2/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_daemon_set_is_gone_leaves_the_node_as_it_was() {
    let mut node = Node::start().await;
    node.until("configured", Node::has_files).await;
    node.cluster.change(|objects| objects.daemon_set = false);
    assert!(node.stop_agent().await.success(), "{}", node.log());
    assert!(node.is_as_before(), "{}", node.log());
    assert!(is(&node.cluster, "Ready", "False", "AgentStopped"), "{}", node.cluster.status());
    assert!(is(&node.cluster, "Honored", "Unknown", "AgentStopped"), "{}", node.cluster.status());
    assert!(node.cluster.status()["mirrors"].is_null(), "{}", node.cluster.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_up_command_takes_back_what_a_killed_agent_left() {
    let mut node = Node::start().await;
    node.until("configured", Node::has_files).await;
    let mut agent = node.agent.take().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(node.has_files());
    assert!(node.program("withdraw").status().unwrap().success());
    assert!(node.is_as_before());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_on_the_node_takes_its_files_back() {
    let node = Node::start().await;
    node.until("configured", Node::has_files).await;
    node.cluster.change(|objects| objects.labels = json!({"tidepool.dev/exclude": "true"}));
    node.until("withdrawn", Node::is_as_before).await;
    node.until("said", |node| node.cluster.status()["mirrors"][0]["reason"] == "NodeExcluded").await;
}
