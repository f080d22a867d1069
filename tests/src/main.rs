//! `tidepool-cluster`: a real Kubernetes in namespaces of this machine, at a prompt.

use std::process::ExitCode;

use clap::Parser;
use tidepool_tests::cli::Command;

#[derive(Parser)]
#[command(name = "tidepool-cluster", version, about = "A real Kubernetes in namespaces of this machine")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match Args::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidepool-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}
