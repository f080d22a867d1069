//! A real registry (distribution) on a free port of loopback.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
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
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("data")}},
            "http": {"addr": format!("127.0.0.1:{port}")},
        });
        let process = serve(&config, port, folder.path());
        Self { port, folder, process, config }
    }

    /// The same contents at the same address, by TLS and to who has a token.
    pub(crate) fn behind_tokens(mut self, tls: &Value, auth: &Value) -> Self {
        self.kill();
        self.config["http"]["tls"] = tls.clone();
        self.config["auth"] = auth.clone();
        self.process = serve(&self.config, self.port, self.folder.path());
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

/// Starts it; what it is asked it appends to `access.log`.
fn serve(config: &Value, port: u16, folder: &Path) -> Child {
    let file = folder.join("config.json");
    fs::write(&file, config.to_string()).unwrap();
    let log = File::options().create(true).append(true).open(folder.join("access.log")).unwrap();
    let mut serve = dying_with_us(&peer("registry").unwrap());
    serve.arg("serve").arg(file).env("OTEL_TRACES_EXPORTER", "none");
    let process = serve.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap();
    let answers = || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok());
    until(Duration::from_secs(20), Duration::from_millis(20), "registry", answers).unwrap();
    process
}
