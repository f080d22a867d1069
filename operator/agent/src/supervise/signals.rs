//! Signals as something to read: blocked, so that none interrupts, and none is lost.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// The signals of a supervisor.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks them for this thread, the only one.
    pub(super) fn block() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map(Self)
    }

    /// Takes what has come; the last that tells to stop.
    pub(super) fn take(&mut self) -> Option<Signal> {
        let mut stop = None;
        while let Ok(Some(info)) = self.0.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            stop = signal.filter(|signal| *signal != Signal::SIGCHLD).or(stop);
        }
        stop
    }

    /// Waits until there are some, or the time is over.
    pub(super) fn wait(&self, within: Duration) {
        let [_] = await_any([self.0.as_fd()], within);
    }

    /// The same with something to read from `other` too; whether there is.
    pub(super) fn wait_with(&self, other: BorrowedFd<'_>, within: Duration) -> bool {
        let [_, other] = await_any([self.0.as_fd(), other], within);
        other
    }
}

/// Waits until one of them is readable or closed, or the time is over; which are.
fn await_any<const N: usize>(sources: [BorrowedFd<'_>; N], within: Duration) -> [bool; N] {
    let mut sources = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
    match poll(&mut sources, PollTimeout::try_from(within).unwrap_or(PollTimeout::ZERO)) {
        Ok(_) => sources.map(|source| source.any().unwrap_or_default()),
        Err(error) => {
            // It cannot fail with open descriptors. If it did, the supervisor must neither spin nor stop looking.
            if error != Errno::EINTR {
                std::thread::sleep(within);
            }
            [false; N]
        }
    }
}
