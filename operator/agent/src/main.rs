//! The Tidepool node agent.

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser as _;
use tidepool_agent::{
    args::{Cli, Command, RunArgs},
    probe::probe,
    run::run,
    supervise::{heartbeat, supervise},
    withdraw::withdraw,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.log.start();
    let done = match cli.command {
        Command::Run(args) if args.supervised => work(*args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => supervise(&args.run_dir).map_err(Into::into),
        Command::Probe(args) => probe(&args).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Withdraw(directories) => withdraw(&directories).map_err(Into::into).map(|files| {
            tracing::info!(files, "taken back");
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| {
        let cause = error.source().map(ToString::to_string);
        tracing::error!(%error, cause, "ended");
        ExitCode::FAILURE
    })
}

/// The child of the supervisor: everything that the agent does.
fn work(args: RunArgs) -> Result<(), Box<dyn Error>> {
    heartbeat::submit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    heartbeat::start(&runtime)?;
    let done = runtime.block_on(run(args));
    // A file system that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.map_err(Into::into)
}
