//! Who takes a cluster away when its owner is gone.
//!
//! The guard is a process in a session of its own that starts the cluster's init and then reads a pipe whose other end
//! only the owner holds. End of file, which also SIGKILL of the owner gives, means: kill the init, and with it the pid
//! namespace and all it holds; remove control groups and the state folder. `release` instead leaves the cluster up.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Process};
use crate::state::State;
use crate::tools;
use crate::wait;

const STARTED: &str = "started";
const RELEASE: &str = "release";
/// Killing some hundred processes and unmounting their file systems takes a second or two.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// The owner's hold on a cluster: dropped, the cluster goes away.
#[derive(Debug)]
pub(crate) struct Guard {
    process: Child,
    released: bool,
}

impl Guard {
    /// Starts the guard of the state folder `dir`, and through it the cluster's init.
    pub(crate) fn start(dir: &Path) -> Result<(Self, Process)> {
        let mut process = Command::new("setsid")
            .arg(tools::own_program()?)
            .args(["guard", "--dir"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the guard")?;
        let mut answer = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut answer).context("cannot hear the guard")?;
        }
        let guard = Self { process, released: false };
        ensure!(answer.trim() == STARTED, "the guard started no cluster");
        Ok((guard, State::init(dir)?))
    }

    /// Leaves the cluster up without an owner.
    pub(crate) fn release(mut self) -> Result<()> {
        if let Some(mut stdin) = self.process.stdin.take() {
            writeln!(stdin, "{RELEASE}").context("cannot release the cluster")?;
        }
        self.released = true;
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        drop(self.process.stdin.take());
        let mut ended = || Ok(self.process.try_wait()?.is_some());
        if let Err(error) = wait::until(GONE_WITHIN * 2, Duration::from_millis(20), "end of the guard", &mut ended) {
            eprintln!("cluster left behind: {error:#}");
        }
    }
}

/// The guard's own process: `tidepool-cluster guard`.
pub(crate) fn run(dir: &Path) -> Result<()> {
    let log = File::create(dir.join("init.log")).context("cannot write in the state folder")?;
    let mut unshare = namespaces(&log)?;
    let init = process::child_of(unshare.id(), Duration::from_secs(60))?;
    State::write_init(dir, init)?;
    println!("{STARTED}");
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order).context("cannot read the owner's pipe")?;
    if order.trim() == RELEASE {
        // Not the owner's standard error any more: it would keep a `| tee` of the owner from ending.
        rustix::stdio::dup2_stderr(&log).context("cannot let go of the owner's standard error")?;
        unshare.wait().context("cannot wait for the end of the cluster")?;
        return Ok(());
    }
    let torn = tear_down(dir);
    unshare.wait().context("cannot end the namespaces of the cluster")?;
    torn
}

/// Starts init in new namespaces. Should the guard be killed, the kernel kills this process and with it the cluster.
fn namespaces(log: &File) -> Result<Child> {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts"])
        .args(["--propagation", "private"])
        .arg(tools::own_program()?)
        .arg("init")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone().context("cannot share a log")?)
        .spawn()
        .context("cannot make the namespaces of the cluster")
}

/// The first process of the cluster's pid namespace: `tidepool-cluster init`. Reaps what others leave, for ever.
pub(crate) fn init() -> Result<()> {
    ensure!(std::process::id() == 1, "init is for the first process of a pid namespace");
    loop {
        if rustix::process::wait(rustix::process::WaitOptions::empty()).is_err() {
            // No child yet.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Takes away the cluster in `dir`, whatever is left of it.
pub(crate) fn tear_down(dir: &Path) -> Result<()> {
    if let Ok(init) = State::init(dir) {
        init.kill(GONE_WITHIN)?;
    }
    crate::cgroups::remove(&State::control_group(dir)?)?;
    let removed = || match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(true),
    };
    wait::until(Duration::from_secs(30), Duration::from_millis(100), "removal of the state folder", removed)
}
