//! A real registry (distribution) on a free port of loopback.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidepool_oci::RegistryName;
use tidepool_tests::{FaultProxy, Image, ImageSpec, peer, until};

use crate::{clients, dying_with_us};

pub(crate) struct Distribution {
    port: u16,
    folder: TempDir,
    process: Child,
    config: Value,
}

impl Distribution {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // It cannot say which port it was given, and one that was free a moment ago may be somebody else's by then.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = json!({
                "version": "0.1", "log": {"level": "error"},
                "storage": {"filesystem": {"rootdirectory": folder.path().join("data")}},
                "http": {"addr": format!("127.0.0.1:{port}")},
            });
            if let Some(process) = serve(&config, port, folder.path()) {
                return Self { port, folder, process, config };
            }
        }
        panic!(
            "ports are taken faster than a registry starts: {:?}",
            fs::read_to_string(folder.path().join("access.log"))
        );
    }

    /// The same contents at the same address, by TLS and to who has a token.
    pub(crate) fn behind_tokens(mut self, tls: &Value, auth: &Value) -> Self {
        self.kill();
        self.config["http"]["tls"] = tls.clone();
        self.config["auth"] = auth.clone();
        self.process = serve(&self.config, self.port, self.folder.path()).expect("it takes its port again");
        self
    }

    fn kill(&mut self) {
        // Neither can fail: the process is ours and was not waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// What images call it.
    pub(crate) fn name(&self) -> RegistryName {
        format!("localhost:{}", self.port).parse().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn push(&self, spec: &ImageSpec) -> Image {
        let layout: PathBuf = self.folder.path().join("layout");
        let image = spec.build(&layout).unwrap();
        let target = format!("127.0.0.1:{}/{}:{}", self.port, spec.repository, spec.tag);
        clients::crane("push", &[layout.to_str().unwrap(), &target]).unwrap();
        fs::remove_dir_all(&layout).unwrap();
        image
    }

    /// Lines of the access log, in Apache's form.
    pub(crate) fn requests(&self) -> Vec<String> {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap().lines().map(str::to_owned).collect()
    }

    /// How often contents of a blob were had.
    pub(crate) fn transfers_of(&self, digest: &str) -> usize {
        self.requests()
            .iter()
            .filter(|line| line.contains("\"GET ") && line.contains(&format!("/blobs/{digest} ")))
            .count()
    }

    /// A fault proxy before it, without faults.
    pub(crate) fn behind_faults(&self) -> FaultProxy {
        FaultProxy::start(([127, 0, 0, 1], self.port).into()).unwrap()
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts it, unless its port is taken; what it is asked it appends to `access.log`.
fn serve(config: &Value, port: u16, folder: &Path) -> Option<Child> {
    let file = folder.join("config.json");
    fs::write(&file, config.to_string()).unwrap();
    let log = File::options().create(true).append(true).open(folder.join("access.log")).unwrap();
    let mut serve = dying_with_us(&peer("registry").unwrap());
    serve.arg("serve").arg(file).env("OTEL_TRACES_EXPORTER", "none");
    let mut process = serve.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap();
    let mut ended = false;
    let answers = || {
        ended = process.try_wait()?.is_some();
        Ok(ended || owns(process.id(), port))
    };
    until(Duration::from_secs(120), Duration::from_millis(20), "registry", answers).unwrap();
    (!ended).then_some(process)
}

/// Whether a process listens on a port: one that is about to find it taken does not, though somebody answers there.
fn owns(process: u32, port: u16) -> bool {
    let (table, local) = (fs::read_to_string("/proc/net/tcp").unwrap(), format!(":{port:04X}"));
    let listening = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sockets: Vec<_> = listening
        .filter(|words| words.len() > 9 && words[1].ends_with(&local) && words[3] == "0A")
        .map(|words| format!("socket:[{}]", words[9]))
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}
