//! Logs: to standard error, one line an event, as text for people or JSON for collectors.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Flags about logs, flattened into each program's own.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,tidepool_proxy=debug`
    #[arg(
        long = "log-level",
        env = "TIDEPOOL_LOG_LEVEL",
        default_value = "info",
        value_name = "FILTER",
        global = true
    )]
    pub level: EnvFilterText,
    /// How logs are written
    #[arg(
        long = "log-format",
        env = "TIDEPOOL_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        global = true
    )]
    pub format: LogFormat,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// A log filter whose syntax was checked when the arguments were read.
#[derive(Clone, Debug)]
pub struct EnvFilterText(String);

impl std::str::FromStr for EnvFilterText {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EnvFilter::builder().parse(text).map(|_| Self(text.to_owned()))
    }
}

impl LogArgs {
    /// Starts logging for the process; later calls change nothing.
    pub fn start(&self) {
        let registry = tracing_subscriber::registry().with(EnvFilter::new(&self.level.0));
        // An error means that logging has been started already.
        let _ = match self.format {
            LogFormat::Text => {
                // Colours are for terminals: in a file or a pod's log they are noise.
                let ansi = std::io::stderr().is_terminal();
                registry.with(tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr)).try_init()
            }
            LogFormat::Json => {
                let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
                registry.with(layer).try_init()
            }
        };
    }
}
