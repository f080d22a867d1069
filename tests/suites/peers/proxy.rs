//! The proxy as it runs alone: its program, on free ports of loopback.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;
use tidepool_tests::FaultProxy;

use crate::distribution::Distribution;
use crate::{clients, dying_with_us};

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| tidepool_tests::product("tidepool-proxy").unwrap());

/// A running proxy; dropped, it is killed.
pub(crate) struct Proxy {
    /// `None` between a kill and the next start.
    running: Option<Running>,
    folder: TempDir,
    /// Bytes of the disk under its store, if that is one of its own.
    disk: Option<u64>,
}

struct Running {
    child: Child,
    clients: SocketAddr,
    admin: SocketAddr,
    /// Whoever closes it makes the program write to nobody.
    _stdout: BufReader<ChildStdout>,
}

impl Proxy {
    /// A proxy that takes `upstream` for Docker Hub, and mirrors it under its own name too.
    pub(crate) fn start(upstream: &Distribution) -> Self {
        let port = upstream.port();
        let own = format!("- {{registry: \"localhost:{port}\", url: \"http://127.0.0.1:{port}\"}}\n");
        Self::of(&format!("- {{registry: docker.io, url: \"http://127.0.0.1:{port}\"}}\n{own}"), None)
    }

    /// A proxy that takes what is behind `faults` for Docker Hub.
    pub(crate) fn behind(faults: &FaultProxy) -> Self {
        Self::of(&format!("- {{registry: docker.io, url: \"{}\"}}\n", faults.url()), None)
    }

    /// The same, with its store on a disk of so many bytes.
    pub(crate) fn on_a_disk_of(bytes: u64, faults: &FaultProxy) -> Self {
        Self::of(&format!("- {{registry: docker.io, url: \"{}\"}}\n", faults.url()), Some(bytes))
    }

    /// A proxy with these `upstreams`, as the file lists them.
    pub(crate) fn of(upstreams: &str, disk: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("disk")).unwrap();
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstorage: {{path: {}}}\nupstreams:\n{upstreams}",
            folder.path().join("disk/store").display()
        );
        fs::write(folder.path().join("proxy.yaml"), text).unwrap();
        let mut proxy = Self { running: None, folder, disk };
        proxy.go();
        proxy
    }

    /// Ends it at once, as power loss would but for the disk.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it on what it left.
    pub(crate) fn go(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.command();
        command.arg("--config").arg(self.folder.path().join("proxy.yaml"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("metrics and health on") {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "it does not start: {said}{}", self.log());
        }
        let mut addresses = said.split([' ', ',', '\n']).filter_map(|word| word.strip_prefix("http://")?.parse().ok());
        let (clients, admin) = (addresses.next().unwrap(), addresses.next().unwrap());
        self.running = Some(Running { child, clients, admin, _stdout: stdout });
    }

    fn command(&self) -> Command {
        let Some(bytes) = self.disk else { return dying_with_us(&PROGRAM) };
        let mut command = dying_with_us(Path::new("unshare"));
        let script = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && shift 2 && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh", &bytes.to_string()]).arg(self.folder.path().join("disk"));
        command.arg(&*PROGRAM);
        command
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.go();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.running().clients
    }

    pub(crate) fn address(&self) -> String {
        self.socket().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where a blob's bytes are kept.
    pub(crate) fn file_of(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').unwrap();
        self.folder.path().join("disk/store/blobs").join(algorithm).join(&hex[..2]).join(hex)
    }

    /// A counter's or gauge's value, by the start of its line; 0 if it has none.
    pub(crate) fn metric(&self, start: &str) -> u64 {
        let text = clients::text(&format!("http://{}/metrics", self.running().admin));
        let line = text.lines().find(|line| line.starts_with(start));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the proxy's log, backwards:\n{}", last.join("\n"));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither can fail: the process is ours and was not waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
