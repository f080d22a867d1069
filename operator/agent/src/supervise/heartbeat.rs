//! The child's side: it says that it lives, from the runtime that does its work, and dies with its supervisor.

use std::{io, os::fd::AsFd as _, time::Duration};

use nix::sys::{
    prctl::set_pdeathsig,
    signal::{SigSet, Signal, raise},
};
use tokio::{
    net::unix::pipe::Sender,
    time::{MissedTickBehavior, interval},
};

/// How often; the supervisor loses its patience after five times that.
const EVERY: Duration = Duration::from_millis(200);

/// What a supervised process does before anything else, in its first thread.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn submit() -> io::Result<()> {
    // The supervisor blocks signals, and a child inherits that.
    SigSet::all().thread_unblock()?;
    set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Beats on standard output for as long as the runtime lives.
///
/// # Errors
/// When standard output is no pipe: nobody supervises.
pub fn start(runtime: &tokio::runtime::Runtime) -> io::Result<()> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let _runtime = runtime.enter();
    let pipe = Sender::from_owned_fd(output)?;
    runtime.spawn(beat(pipe));
    Ok(())
}

async fn beat(pipe: Sender) {
    let mut beats = interval(EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        match pipe.try_write(b".") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                tracing::error!("the supervisor is gone, stopping");
                // It went before this process could ask to go with it.
                let _ = raise(Signal::SIGTERM);
                return;
            }
            // Full: a supervisor that does not read is the liveness probe's to see.
            Ok(_) | Err(_) => {}
        }
    }
}
