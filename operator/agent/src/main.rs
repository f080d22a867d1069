//! The Tidepool node agent.

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use tidepool_agent::{
    args::{Cli, Command, RunArgs},
    probe::probe,
    run::run,
    withdraw::withdraw,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.log.start();
    let done = match cli.command {
        Command::Run(args) => run_agent(*args),
        Command::Probe(args) => probe(&args.admin_socket, args.ready).map_err(Into::into),
        Command::Withdraw(directories) => withdraw(&directories).map_err(Into::into).map(|files| {
            tracing::info!(files, "taken back");
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(%error, cause, "ended");
            ExitCode::FAILURE
        }
    }
}

fn run_agent(args: RunArgs) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(run(args));
    // A file system that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.map_err(Into::into)
}
