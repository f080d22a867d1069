//! `tidepool-proxy`: parses its arguments, runs, and says why it ended.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use tidepool_proxy::Args;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tidepool_runtime::install_crypto();
    match args.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidepool-proxy: {}", with_causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// An error and its causes in one line, leaving out a cause that the text before it ends with.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
