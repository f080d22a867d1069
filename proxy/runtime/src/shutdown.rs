//! How a process stops: one token, cancelled by the first SIGINT or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The process cannot listen for signals.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for SIGINT and SIGTERM")]
pub struct SignalError(#[from] std::io::Error);

/// A token that the first SIGINT or SIGTERM cancels. Every task of the process stops when it is cancelled.
///
/// # Errors
/// [`SignalError`] when the process cannot listen for signals.
///
/// # Panics
/// Outside a tokio runtime with IO enabled.
pub fn stop_signal() -> Result<CancellationToken, SignalError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!(signal.name = "SIGINT", "stopping"),
            _ = terminate.recv() => tracing::info!(signal.name = "SIGTERM", "stopping"),
            () = cancelled.cancelled() => {}
        }
        cancelled.cancel();
    });
    Ok(stop)
}
