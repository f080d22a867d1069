//! The supervisor: the first process of the pod, which starts the agent's work as its child, again where that ends,
//! and kills it where it no longer lives though it does not end (design N6).
//!
//! A forwarder that is stopped or stuck is the worst that can happen to a node: the kernel goes on accepting
//! connections for it, and the runtime waits. Killed, its streams end as broken ones do and its port is refused, at
//! which the runtime goes upstream at once. So the supervisor is small: one thread, no connections, nothing that waits.
//!
//! - `watchdog`: when silence is death, and when it is not.
//! - `hunger`: whether a silent child lacks nothing but a processor.
//! - `restarts`: when the next child starts.
//! - `child`: one child, from start to end.
//! - `signals`: what the pod's container is told.
//! - [`heartbeat`]: the child's side.
//! - [`pulse`]: how the liveness probe sees that the supervisor itself runs.

mod child;
pub mod heartbeat;
mod hunger;
pub mod pulse;
mod restarts;
mod signals;
mod watchdog;

use std::{
    io,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::signal::Signal};

use child::{Child, End};
use hunger::Hunger;
use pulse::Pulse;
use restarts::Restarts;
use signals::Signals;
use watchdog::{Sign, Watchdog};

/// How often the supervisor looks, at least.
const LOOK: Duration = Duration::from_millis(200);

/// Why there can be no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] Errno),
    /// Its own program is not to be found.
    #[error("cannot find the program to start")]
    Program(#[source] io::Error),
}

/// Runs this program again with the same arguments, as the child that works, until it is told to stop; its end then is
/// the supervisor's.
///
/// # Errors
/// [`SuperviseError`] at the start alone.
pub fn supervise(run_dir: &Path) -> Result<ExitCode, SuperviseError> {
    let program = std::env::current_exe().map_err(SuperviseError::Program)?;
    let mut supervisor = Supervisor {
        signals: Signals::block().map_err(SuperviseError::Signals)?,
        pulse: Pulse::start(run_dir),
        stopping: None,
    };
    let mut restarts = Restarts::default();
    loop {
        let started = Instant::now();
        let end = match Child::start(&program) {
            Ok(child) => supervisor.attend(child),
            Err(error) => {
                tracing::error!(%error, "cannot start the agent's process");
                End::NEVER_BEGAN
            }
        };
        let pause = restarts.pause_after(started.elapsed());
        if supervisor.stopping.is_some() {
            return Ok(end.code());
        }
        tracing::error!(%end, pause.seconds = pause.as_secs_f64(), "the agent's process ended, starting it again");
        if supervisor.rest(pause) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn sign(beaten: bool, hunger: &mut Hunger) -> Sign {
    if beaten {
        hunger.is_stilled();
        return Sign::Beat;
    }
    if hunger.is_felt() { Sign::Hunger } else { Sign::None }
}

struct Supervisor {
    signals: Signals,
    pulse: Pulse,
    /// The signal that told it to stop.
    stopping: Option<Signal>,
}

impl Supervisor {
    /// Stays with a child until its end.
    fn attend(&mut self, mut child: Child) -> End {
        let mut watchdog = Watchdog::new(Instant::now());
        let mut hunger = Hunger::of(child.id());
        let mut told = None;
        loop {
            let sign = sign(child.wait_for_beats(&self.signals, LOOK), &mut hunger);
            self.pulse.beat();
            self.stopping = self.signals.take().or(self.stopping);
            if let Some(end) = child.reap() {
                return end;
            }
            // Before its first beat it cannot be told: it might not listen for signals yet, and die of this one.
            if let Some(signal) = self.stopping.filter(|_| told != self.stopping && watchdog.has_begun()) {
                child.tell(signal);
                watchdog.stopping();
                told = Some(signal);
            }
            if watchdog.look(Instant::now(), sign) {
                tracing::error!(child.id = child.id(), "the agent's process gives no sign of life, killing it");
                child.tell(Signal::SIGKILL);
            }
        }
    }

    /// Waits before the next child; true when it is told to stop meanwhile.
    fn rest(&mut self, pause: Duration) -> bool {
        let began = Instant::now();
        while let Some(left) = pause.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            self.signals.wait(left.min(LOOK));
            self.pulse.beat();
            child::reap_others();
            if self.signals.take().is_some() {
                return true;
            }
        }
        false
    }
}
