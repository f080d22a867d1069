//! `tidepool-proxy`: parses its arguments, runs, and says why it ended.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use tidepool_proxy::Args;
use tidepool_runtime::with_causes;

/// The system's allocator of a static program is musl's, which is known to be slow where threads share it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
