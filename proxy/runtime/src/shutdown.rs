//! How a process stops: at the first SIGINT or SIGTERM once its work has ended, at the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The process cannot listen for signals.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for SIGINT and SIGTERM")]
pub struct SignalError(#[from] std::io::Error);

/// What signals ask of a process.
#[derive(Clone, Debug, Default)]
pub struct StopSignals {
    /// Cancelled by the first: every task of the process ends its work.
    pub stop: CancellationToken,
    /// Cancelled by the second: whoever sends it does not want to wait for that.
    pub at_once: CancellationToken,
}

/// A token that the first SIGINT or SIGTERM cancels. Every task of the process stops when it is cancelled.
///
/// # Errors
/// [`SignalError`] when the process cannot listen for signals.
///
/// # Panics
/// Outside a tokio runtime with IO enabled.
pub fn stop_signal() -> Result<CancellationToken, SignalError> {
    Ok(stop_signals()?.stop)
}

/// Both tokens, for a process whose work takes long to end.
///
/// # Errors
/// [`SignalError`] when the process cannot listen for signals.
///
/// # Panics
/// Outside a tokio runtime with IO enabled.
pub fn stop_signals() -> Result<StopSignals, SignalError> {
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let tokens = StopSignals::default();
    let StopSignals { stop, at_once } = tokens.clone();
    tokio::spawn(async move {
        tokio::select! {
            name = next(&mut signals) => tracing::info!(signal.name = name, "stopping"),
            () = stop.cancelled() => {}
        }
        stop.cancel();
        let name = next(&mut signals).await;
        tracing::warn!(signal.name = name, "stopping at once");
        at_once.cancel();
    });
    Ok(tokens)
}

async fn next((interrupt, terminate): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
