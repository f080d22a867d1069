//! `tidepool-operator`: reads the arguments, starts logging, runs until it is told to stop.

use std::process::ExitCode;

use clap::Parser as _;
use tidepool_operator::{Args, Command, start};

fn main() -> ExitCode {
    let Args { command: Command::Run(mut args), log } = Args::parse();
    args.member_log.clone_from(&log.level);
    log.start();
    tidepool_runtime::install_crypto();
    let run = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        anyhow::Ok(runtime.block_on(start(args))?)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidepool-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
