//! The child that does the work, as its supervisor sees it.

use std::{
    fmt, io,
    io::Read as _,
    os::fd::AsFd as _,
    path::Path,
    process::{ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::signals::Signals;

/// The flag that makes a child of this program.
const SUPERVISED: &str = "--supervised";

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    id: Pid,
    /// Its standard output, on which nothing but heartbeats come; none once it is closed.
    beats: Option<ChildStdout>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(i32),
    Killed(Signal),
}

impl End {
    pub(super) const NEVER_BEGAN: Self = Self::Exited(1);

    /// The same end for the supervisor, as a shell would tell it.
    pub(super) fn code(self) -> ExitCode {
        let code = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal as i32,
        };
        u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "killed by {signal}"),
        }
    }
}

impl Child {
    /// Starts `program` with the arguments of this process.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).arg(SUPERVISED).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let id = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self { id: Pid::from_raw(id), beats: child.stdout.take() })
    }

    pub(super) fn id(&self) -> i32 {
        self.id.as_raw()
    }

    /// Waits for a heartbeat, a signal, or until the time is over; whether heartbeats came.
    pub(super) fn wait_for_beats(&mut self, signals: &Signals, within: Duration) -> bool {
        let Some(beats) = &mut self.beats else {
            signals.wait(within);
            return false;
        };
        if !signals.wait_with(beats.as_fd(), within) {
            return false;
        }
        let read = beats.read(&mut [0; 4096]).unwrap_or_default();
        if read == 0 {
            // Closed: it is about to end, and there is nothing more to wait for here.
            self.beats = None;
        }
        read > 0
    }

    /// Sends it a signal; until it is reaped its number is its own.
    pub(super) fn tell(&self, signal: Signal) {
        if let Err(error) = kill(self.id, signal) {
            tracing::error!(child.id = self.id.as_raw(), %signal, %error, "cannot send a signal");
        }
    }

    /// Takes in whatever has ended, orphans too, which the first process of a pod inherits; how this child did, if so.
    pub(super) fn reap(&mut self) -> Option<End> {
        let mut end = None;
        while let Some((id, how)) = next_end() {
            if id == self.id {
                end = Some(how);
            }
        }
        end
    }
}

/// Takes in orphans that have ended.
pub(super) fn reap_others() {
    while next_end().is_some() {}
}

fn next_end() -> Option<(Pid, End)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(id, code)) => return Some((id, End::Exited(code))),
            Ok(WaitStatus::Signaled(id, signal, _)) => return Some((id, End::Killed(signal))),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}
