//! What a cluster needs of the machine: root, namespaces, host programs and the Go-built peers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Programs of the host, each from a package that `tests/tools/apt.sh` installs.
const HOST_PROGRAMS: [&str; 16] = [
    "busybox", "curl", "env", "ip", "iptables", "mount", "nsenter", "openssl", "podman", "runc", "setpriv", "setsid",
    "sh", "tc", "timeout", "unshare",
];

/// Why no cluster can run on this machine, or `None` if one can.
pub(crate) fn unsupported() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to make namespaces".to_owned());
    }
    let missing: Vec<&str> = HOST_PROGRAMS.into_iter().filter(|program| !on_path(program)).collect();
    if !missing.is_empty() {
        return Some(format!("needs {} (tests/tools/apt.sh installs them)", missing.join(", ")));
    }
    let probe = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--net", "--uts", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match probe {
        Ok(status) if status.success() => None,
        Ok(_) | Err(_) => Some("needs new pid, mount, network and uts namespaces, which are refused here".to_owned()),
    }
}

/// The folder that holds the Go-built peers.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Takes `$TIDEPOOL_TOOLS`, or has `tests/tools/build.sh` say the folder, which first builds what is missing.
    pub(crate) fn find() -> Result<Self> {
        if let Some(folder) = std::env::var_os("TIDEPOOL_TOOLS") {
            return Ok(Self::at(PathBuf::from(folder)));
        }
        let script = folder().join("tools/build.sh");
        let output = Command::new(&script)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(output.status.success(), "{} failed", script.display());
        Ok(Self::at(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())))
    }

    /// Uses the peers in `folder`.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself: CNI plugins are named by it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A `PATH` on which the peers win over what the host has of the same name.
    pub(crate) fn search_path(&self) -> OsString {
        let mut path = self.folder.clone().into_os_string();
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        path
    }
}

/// The program `tidepool-cluster`: this process, or what Cargo built beside this test.
pub(crate) fn own_program() -> Result<PathBuf> {
    const NAME: &str = "tidepool-cluster";
    let this = std::env::current_exe().context("cannot find the running program")?;
    if this.file_name().is_some_and(|name| name == NAME) {
        return Ok(this);
    }
    // Test programs lie in `deps/` below the folder of the binaries.
    let program = this.parent().and_then(Path::parent).map(|folder| folder.join(NAME)).filter(|file| file.is_file());
    program.with_context(|| format!("no {NAME} beside {}: cargo build -p tidepool-tests --bins", this.display()))
}

/// A peer's program, for suites that run one without a cluster: `crane`, `registry`.
pub fn peer(name: &str) -> Result<PathBuf> {
    let program = Tools::find()?.folder.join(name);
    ensure!(program.is_file(), "there is no peer {name}: tests/tools has none that builds it");
    Ok(program)
}

/// A program of Tidepool, for suites that run one without a cluster: built as Cargo built this test, if it is not yet.
pub fn product(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find the running program")?;
    // Test programs lie in `<target>/<profile>/deps/`.
    let target = this.ancestors().nth(3).context("this is no test that Cargo built")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--package", name, "--bin", name]).arg("--target-dir").arg(target);
    let status = build.current_dir(repository()).status().context("cannot run cargo")?;
    ensure!(status.success(), "cannot build {name}");
    Ok(target.join("debug").join(name))
}

/// The root of the repository, for tests that name charts and examples.
pub fn repository() -> PathBuf {
    let tests = folder();
    tests.parent().unwrap_or(&tests).to_path_buf()
}

/// This crate's folder: as Cargo says when it runs us, for clones that share a target folder share programs, too.
fn folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        || ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file())
}
