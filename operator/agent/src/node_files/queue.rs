//! Waiting for the agent before to end, in a surge of the DaemonSet: silently at first, for it is about to.

use std::{path::Path, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::files::{FileError, Lock};

/// Until when nothing is said. An agent that was told to stop ends within its grace of 40 s, and a node that pulls the
/// new image slowly has both for longer.
const SILENTLY: Duration = Duration::from_secs(120);

/// A place in the queue for the lock.
#[derive(Debug, Default)]
pub(super) struct Queue {
    since: Option<Instant>,
    /// The lock, as soon as it is ours. A thread waits for it, since the kernel wakes no task; one that waits in vain
    /// ends with the process.
    lock: Option<oneshot::Receiver<Result<Lock, FileError>>>,
    served: Option<Result<Lock, FileError>>,
}

impl Queue {
    /// Waits from now on, unless it does already.
    pub(super) fn enter(&mut self, state: &Path) {
        self.since.get_or_insert_with(Instant::now);
        if self.lock.is_some() || self.served.is_some() {
            return;
        }
        let (send, lock) = oneshot::channel();
        let state = state.to_owned();
        let wait = move || drop(send.send(Lock::wait(&state)));
        match std::thread::Builder::new().name("files-lock".to_owned()).spawn(wait) {
            Ok(_) => self.lock = Some(lock),
            Err(error) => tracing::warn!(%error, "no thread to wait for the node's files; looking every now and then"),
        }
    }

    /// Whether there is another agent.
    pub(super) fn is_entered(&self) -> bool {
        self.since.is_some()
    }

    /// Whether the other agent may just be ending.
    pub(super) fn is_short(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < SILENTLY)
    }

    /// Waits until the lock is ours; for ever where nobody waits for it.
    pub(super) async fn served(&mut self) {
        let Some(lock) = &mut self.lock else { return std::future::pending().await };
        let served = lock.await;
        self.lock = None;
        self.served = served.ok();
    }

    /// What was waited for, if it came.
    pub(super) fn take(&mut self) -> Option<Result<Lock, FileError>> {
        if let Some(Ok(served)) = self.lock.as_mut().map(oneshot::Receiver::try_recv) {
            (self.lock, self.served) = (None, Some(served));
        }
        self.served.take()
    }

    /// Waits no more: the files are ours.
    pub(super) fn leave(&mut self) {
        *self = Self::default();
    }
}
