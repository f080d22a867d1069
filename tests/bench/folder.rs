//! The folder of one run, and what has to go when the run ends, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

const PREFIX: &str = "tidepool-bench-";

/// Processes that this run started and has not waited for yet: their numbers cannot have gone to others.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A folder that goes with its owner.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder below `parent`. What killed runs left there goes first.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        sweep(parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let folder = Self(path);
        folder.guard()?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Cleans up when a person or a time limit ends the run.
    fn guard(&self) -> Result<()> {
        let path = self.0.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        std::thread::spawn(move || {
            runtime.block_on(stopped());
            for pid in running().iter() {
                let _ = kill_process(*pid, Signal::KILL);
            }
            let _ = fs::remove_dir_all(&path);
            // Threads are in the middle of measuring, and nothing is left that a slower end would put right.
            let _ = kill_process(rustix::process::getpid(), Signal::KILL);
        });
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Notes a process that has to end with the run.
pub(crate) fn note(pid: Pid) {
    running().push(pid);
}

/// Forgets it; to be called before it is waited for.
pub(crate) fn forget(pid: Pid) {
    running().retain(|other| *other != pid);
}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
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
