//! What every Tidepool process shares: how it logs, how it is watched, how it stops.
//!
//! - [`LogArgs`]: log level and format, as flags; [`LogControl`] changes the level later.
//! - [`admin`]: the admin server with `/metrics`, `/livez` and `/readyz`.
//! - [`stop_signal`]: one token that SIGINT and SIGTERM cancel, handed to every task; [`stop_signals`] tells the second.
//! - [`install_crypto`]: the one TLS provider of the process; [`aes_128`] and [`aes_256`]: its cheaper suites.
//! - [`raise_open_files`]: as many connections as the system allows.
//! - [`with_causes`]: an error in one line.

pub mod admin;
mod causes;
mod crypto;
mod files;
mod logging;
mod shutdown;

pub use causes::with_causes;
pub use crypto::{aes_128, aes_256, install_crypto};
pub use files::raise_open_files;
pub use logging::{LogArgs, LogControl, LogFilter, LogFilterError, LogFormat};
pub use shutdown::{SignalError, StopSignals, stop_signal, stop_signals};
