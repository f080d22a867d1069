//! The fault matrix: pulls by nodes with Tidepool in every state that it may be in, beside the same pulls by nodes
//! without it. `make matrix` makes all of it, `make test` the pulls that are marked as representative.
//!
//! A runner of its own: cells are measured one state after the other on one cluster, and the table is the result.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use tidepool_tests::matrix::{Pull, Row, table};

#[path = "matrix/agents.rs"]
mod agents;
#[path = "matrix/document.rs"]
mod document;
#[path = "matrix/measure.rs"]
mod measure;
#[path = "matrix/members.rs"]
mod members;
#[path = "matrix/operator.rs"]
mod operator;
#[path = "matrix/stage.rs"]
mod stage;
#[path = "matrix/state.rs"]
mod state;
#[path = "matrix/states.rs"]
mod states;
#[path = "matrix/trust.rs"]
mod trust;

use stage::Stage;
use state::State;

/// Measures the fault matrix.
#[derive(Debug, Parser)]
struct Args {
    /// States to measure; some pulls in some of them by default
    states: Vec<String>,
    /// Measure every state
    #[arg(long)]
    all: bool,
    /// Write the table into this file, with what it was made of
    #[arg(long)]
    write: Option<PathBuf>,
    /// Say which states there are
    #[arg(long)]
    list: bool,
    /// For who runs all suites alike: states are always measured one by one
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
    /// For who runs all suites alike: nothing is captured
    #[arg(long, hide = true)]
    nocapture: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every cell that was measured keeps the promise.
fn run(args: &Args) -> Result<bool> {
    if args.list {
        states::STATES.iter().for_each(|state| println!("{}: {}", state.name, state.title));
        return Ok(true);
    }
    let wanted = selected(args)?;
    let Some(stage) = Stage::set()? else { return Ok(true) };
    let (mut rows, mut lost) = (Vec::new(), false);
    for (state, pulls) in wanted {
        let row = if lost { measure::none(state) } else { measure::state(&stage, state, pulls) };
        let text = table(std::slice::from_ref(&row));
        println!("{}", text.lines().last().unwrap_or_default());
        row.broken().iter().for_each(|(cell, why)| println!("  BROKEN {} {:?}: {why}", cell.pull.word(), cell.runtime));
        if let Some(trouble) = &row.trouble {
            println!("  BROKEN {trouble}");
            // What was measured so far is worth a table.
            lost = lost || stage.recover_from_anything().inspect_err(|error| println!("{error:#}")).is_err();
        }
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    if let Some(file) = &args.write {
        document::write(&stage, &rows, file)?;
    }
    Ok(told(&rows))
}

fn selected(args: &Args) -> Result<Vec<(&'static State, &'static [Pull])>> {
    if let Some(unknown) = args.states.iter().find(|name| !states::STATES.iter().any(|state| state.name == **name)) {
        bail!("there is no state {unknown}: --list says which there are");
    }
    let wanted = |state: &'static State| match args.states.as_slice() {
        [] if !args.all => (state, state.representative),
        [] => (state, state.pulls),
        names if names.iter().any(|name| name == state.name) => (state, state.pulls),
        _ => (state, &[][..]),
    };
    Ok(states::STATES.iter().map(wanted).filter(|(_, pulls)| !pulls.is_empty()).collect())
}

/// Says the result as other suites do, a cell counting as a test.
fn told(rows: &[Row]) -> bool {
    let cells: usize = rows.iter().map(|row| row.cells.len()).sum();
    let broken: usize = rows.iter().map(|row| row.broken().len()).sum();
    let troubled = rows.iter().filter(|row| row.trouble.is_some()).count();
    let failed = broken + troubled;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out", cells - broken);
    failed == 0
}
