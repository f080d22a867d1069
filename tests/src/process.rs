//! Processes as `/proc` shows them: whether one still lives, and how the pid inside a namespace is called outside.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number in the pid namespace of the reader.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    started: u64,
}

impl Process {
    /// The process that now has this number.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = Stat::read(pid).with_context(|| format!("no process {pid}"))?;
        Ok(Self { pid, started: stat.started })
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// Sends it a signal, unless it is gone.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).filter(|_| self.is_alive());
        pid.map_or(Ok(()), |pid| rustix::process::kill_process(pid, signal)).context("cannot send a signal")
    }

    /// The process that started it.
    pub(crate) fn parent(self) -> Option<u32> {
        Stat::read(self.pid).map(|stat| stat.parent)
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.is_alive() {
            if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself since the look above.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            if Instant::now() > deadline {
                bail!("process {} outlives SIGKILL", self.pid);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// The processes of a program, by the start of its command line, in a control group whose path has these parts.
pub(crate) fn of_program(command: &str, parts: &[String]) -> Vec<Process> {
    let runs = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        line.starts_with(command) && parts.iter().all(|part| groups.contains(part))
    };
    pids().filter(runs).filter_map(|pid| Process::of(pid).ok()).collect()
}

/// The only child of a process, waiting for it to be forked.
pub(crate) fn child_of(parent: u32, within: Duration) -> Result<Process> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(pid) = pids().find(|pid| Stat::read(*pid).is_some_and(|stat| stat.parent == parent)) {
            return Process::of(pid);
        }
        if Instant::now() > deadline {
            bail!("process {parent} forks no child");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process that the pid namespace of `init` calls `inner`.
pub(crate) fn inside(init: u32, inner: u32) -> Result<Process> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(init).with_context(|| format!("no process {init}"))?;
    let called = |pid: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
    };
    let pid = pids().find(|pid| called(*pid) == Some(inner) && namespace(*pid).as_ref() == Some(&wanted));
    Process::of(pid.with_context(|| format!("the namespace of {init} has no process {inner}"))?)
}

struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything, brackets and spaces too.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let this = Process::of(std::process::id()).unwrap();
        assert!(this.is_alive());
        assert!(!Process { started: this.started + 1, ..this }.is_alive());
    }

    #[test]
    fn a_killed_process_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        process.kill(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
