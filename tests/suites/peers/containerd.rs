//! A real containerd with its own root, state and socket, in a mount namespace that ends with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tidepool_tests::{peer, until};

use crate::{clients, dying_with_us};

/// Bytes of one of the parts in which it fetches a layer, side by side.
pub(crate) const PART: u64 = 4 << 20;
/// How many parts of an image it fetches at once.
const DOWNLOADS: u32 = 6;

/// A release of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// What clusters of the suites have.
    Current,
    /// 1.7.
    Old,
}

impl Version {
    fn program(self, name: &str) -> PathBuf {
        match self {
            Self::Current => peer(name).unwrap(),
            Self::Old => peer(&format!("containerd17/{name}")).unwrap(),
        }
    }
}

pub(crate) struct Containerd {
    version: Version,
    folder: TempDir,
    process: Child,
}

impl Containerd {
    /// One that pulls what docker.io has through a mirror.
    pub(crate) fn start(mirror: &str) -> Self {
        let containerd = Self::of(Version::Current);
        let folder = containerd.folder.path().join("certs.d/docker.io");
        fs::create_dir_all(&folder).unwrap();
        // Port 1 refuses: without it containerd would go on to the real Docker Hub.
        let hosts =
            format!("server = \"http://127.0.0.1:1\"\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        fs::write(folder.join("hosts.toml"), hosts).unwrap();
        containerd
    }

    /// One of a version.
    pub(crate) fn of(version: Version) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(path("certs.d")).unwrap();
        let mut config = format!(
            "version = 3\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\"]\n\
             [grpc]\n  address = \"{}\"\n[ttrpc]\n  address = \"{}\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\n  path = \"{}\"\n\
             [plugins.\"io.containerd.transfer.v1.local\"]\n  config_path = \"{}\"\n\
               max_concurrent_downloads = {DOWNLOADS}\n  concurrent_layer_fetch_buffer = {PART}\n",
            path("root"),
            path("state"),
            path("socket"),
            path("ttrpc"),
            path("opt"),
            path("certs.d"),
        );
        if version == Version::Old {
            config = old_config(&path);
        }
        fs::write(path("config.toml"), config).unwrap();
        let log = File::create(path("log")).unwrap();
        let mut command = dying_with_us(Path::new("unshare"));
        command.arg("--mount").arg(version.program("containerd")).args(["--config", &path("config.toml")]);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let containerd = Self { version, folder, process };
        let answers = || Ok(containerd.ctr(&["version"]).is_ok());
        until(Duration::from_secs(120), Duration::from_millis(50), "containerd", answers).unwrap();
        containerd
    }

    /// Pulls and unpacks an image; every layer is verified on the way.
    pub(crate) fn pull(&self, image: &str) -> Result<String, String> {
        self.pull_by(&self.folder.path().join("certs.d"), image)
    }

    /// The same by other hosts.toml files.
    pub(crate) fn pull_by(&self, hosts: &Path, image: &str) -> Result<String, String> {
        self.ctr(&["images", "pull", "--hosts-dir", &hosts.display().to_string(), image])
    }

    /// Whether contents are in its store, whole.
    pub(crate) fn has(&self, digest: &str) -> bool {
        self.ctr(&["content", "ls", "--quiet"]).unwrap().lines().any(|line| line == digest)
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String, String> {
        let socket = self.folder.path().join("socket");
        let ctr = self.version.program("ctr");
        clients::run(Command::new("timeout").arg("120").arg(ctr).arg("--address").arg(socket).args(arguments))
    }
}

/// 1.7 has no transfer service to set up; its client pulls.
fn old_config(path: &impl Fn(&str) -> String) -> String {
    format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.nri.v1.nri\"]\n\
         [grpc]\n  address = \"{}\"\n[ttrpc]\n  address = \"{}\"\n[plugins.\"io.containerd.internal.v1.opt\"]\n  path = \"{}\"\n",
        path("root"),
        path("state"),
        path("socket"),
        path("ttrpc"),
        path("opt"),
    )
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Neither can fail: the process is ours and was not waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
