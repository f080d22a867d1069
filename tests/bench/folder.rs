//! The folder of one run, and a process that sees to it that it goes, and all that was started with it.
//!
//! The run itself is a child: whatever ends it, by a fault or by a signal, its subjects get a signal from the kernel,
//! and its parent, which does nothing else, removes the folder. Should both be killed, the next run sweeps.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

const PREFIX: &str = "tidepool-bench-";
/// How long subjects may still write after they were told to end.
const GONE: Duration = Duration::from_secs(5);

/// A folder that goes with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

/// Runs this program again, with the same arguments and a folder, and cleans up when it ends or must.
pub(crate) fn supervise(parent: &Path) -> Result<ExitCode> {
    let folder = Folder::new(parent)?;
    let program = std::env::current_exe().context("cannot find the running program")?;
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL").arg(program).args(std::env::args_os().skip(1)).arg("--within").arg(&folder.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    // From this thread, for the kernel watches the one that starts a process.
    let child = command.spawn().context("cannot start the run")?;
    runtime.block_on(attend(child))
}

/// Waits for the run, or ends it when a person or a time limit says so.
async fn attend(mut child: Child) -> Result<ExitCode> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let waiting = std::thread::spawn(move || child.wait());
    let finished = async {
        while !waiting.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = finished => {}
        () = stopped() => {
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    let status = waiting.join().ok().context("nobody waits for the run")?.context("cannot wait for the run")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

impl Folder {
    /// A new folder below `parent`. What killed runs left there goes first.
    fn new(parent: &Path) -> Result<Self> {
        sweep(parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let deadline = Instant::now() + GONE;
        while self.0.exists() && Instant::now() < deadline {
            if fs::remove_dir_all(&self.0).is_err() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

async fn stopped() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
