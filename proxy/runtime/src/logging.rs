//! Logs: to standard error, one line an event, as text for people or JSON for collectors.

use std::{fmt, io::IsTerminal as _, str::FromStr};

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::LevelFilter,
    layer::SubscriberExt as _,
    reload::{self, Handle},
    util::SubscriberInitExt as _,
};

/// Flags about logs, flattened into each program's own.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,tidepool_proxy=debug` [default: info]
    #[arg(long = "log-level", env = "TIDEPOOL_LOG_LEVEL", value_name = "FILTER", global = true)]
    pub level: Option<LogFilter>,
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

/// Which events are logged; its syntax is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// The text says nothing that a log could follow.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no log filter, expected error, warn, info, debug, trace, off, or directives such as info,tidepool_proxy=debug"
)]
pub struct LogFilterError(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A word alone that is no level would be taken for a module of which all is logged, and nothing else; and so
        // would a level with a space beside it.
        let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let means_something = |part: &&str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
        let filter = parts.join(",");
        if !parts.is_empty() && parts.iter().all(means_something) && EnvFilter::builder().parse(&filter).is_ok() {
            Ok(Self(filter))
        } else {
            Err(LogFilterError(text.to_owned()))
        }
    }
}

/// What is logged, which may change while the process runs. Clones are of the same log.
#[derive(Clone, Debug)]
pub struct LogControl(Handle<EnvFilter, Registry>);

impl LogControl {
    /// Logs these events from now on.
    pub fn set(&self, filter: &LogFilter) {
        // An error means that no log was started with it: there is nothing to change.
        let _ = self.0.reload(EnvFilter::new(&filter.0));
    }
}

impl LogArgs {
    /// Starts logging for the process; later calls change nothing.
    pub fn start(&self) -> LogControl {
        let (filter, handle) = reload::Layer::new(EnvFilter::new(self.level.clone().unwrap_or_default().0));
        let registry = tracing_subscriber::registry().with(filter);
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
        LogControl(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_filters_and_a_misspelt_level_is_an_error_that_says_what_belongs_there() {
        for text in ["info", "WARN", "off", "info,tidepool_proxy=debug", "warn,tidepool_proxy::access_log=off"] {
            assert_eq!(text.parse::<LogFilter>().unwrap().to_string(), text);
        }
        let spaced = " warn , tidepool_proxy=debug".parse::<LogFilter>().unwrap();
        assert_eq!(spaced.to_string(), "warn,tidepool_proxy=debug");
        for text in ["", " ", "loud", "info,loud", "tidepool_proxy=loud", "info,,debug,verbose"] {
            let error = text.parse::<LogFilter>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} is no")) && error.contains("expected error, warn, "),
                "{error}"
            );
        }
    }
}
