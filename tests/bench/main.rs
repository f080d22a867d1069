//! `tidepool-bench`: Tidepool beside nginx, distribution and direct access, in one run and one table.
//!
//! An upstream and the clients are threads of this process; what is measured are processes of their own, each started
//! on a free port of loopback with an empty store, and stopped when their row is done. Only
//! Tidepool's bytes are asserted: what is slow, and what rivals do, shows in the table.

mod content;
mod floor;
mod folder;
mod http;
mod machine;
mod plot;
mod pull;
mod report;
mod rows;
mod scale;
mod stats;
mod storm;
mod subject;
mod table;
mod tls;
mod upstream;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use content::Catalogue;
use report::{Found, Report};
use rows::Bench;
use scale::{MIB, Scale, Size};
use subject::Programs;
use upstream::Upstream;

/// Tidepool beside nginx, distribution and direct access, in one run and one table
#[derive(Debug, Parser)]
#[command(name = "tidepool-bench", version)]
struct Args {
    /// How much is measured
    #[arg(long, value_enum, default_value = "full")]
    size: Size,
    /// Tidepool's proxy
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    proxy: Option<PathBuf>,
    /// Tidepool's node agent; without it there are no rows of it
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Where blobs and stores go for the time of the run
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// File for every sample
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table into the README and the plot into docs/
    #[arg(long)]
    write: bool,
    /// Rows to measure: hot, tls, node, small, cold, links, herd, memory, faults, outage, start
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure nothing: show, or write, what an earlier run put into this file by --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "json"])]
    from: Option<PathBuf>,
    /// The folder of this run, made by its supervisor
    #[arg(long, hide = true)]
    within: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidepool-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let names = rows::ROWS.map(|(name, _)| name);
    let unknown = args.only.iter().find(|only| !names.contains(&only.as_str()));
    ensure!(unknown.is_none(), "there are no rows {}, but {}", unknown.map_or("", |name| name), names.join(", "));
    ensure!(!args.write || args.only.is_empty(), "--write is for all rows: some are no table for the README");
    let found = match (&args.from, &args.within) {
        (Some(file), _) => Found::read(file)?,
        (None, None) => return folder::supervise(&args.folder),
        (None, Some(folder)) => {
            let mut bench = prepare(args, folder)?;
            rows::run(&mut bench, &args.only)?;
            bench.report.finish()
        }
    };
    println!("{}", found.markdown());
    if let Some(path) = &args.json {
        found.write_json(path)?;
    }
    if args.write {
        found.write_texts(&tidepool_tests::repository())?;
    }
    // Figures are never a failure; wrong bytes of Tidepool are, and rows that nobody could measure.
    Ok(if found.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prepare(args: &Args, folder: &Path) -> Result<Bench> {
    let (scale, proxy) = (args.size.scale(), args.proxy.as_ref().context("--proxy is missing")?);
    eprintln!("making {} of noise", scale::bytes(scale.huge + scale.large + scale.medium));
    let catalogue = Arc::new(catalogue(&scale, folder)?);
    let tree = folder.join("tree");
    catalogue.write_tree(&tree)?;
    let upstream = Upstream::start(Arc::clone(&catalogue))?;
    let smoke = scale.size == Size::Smoke;
    let programs = Programs {
        tidepool: proxy.canonicalize().with_context(|| format!("no proxy {}", proxy.display()))?,
        agent: args.agent.as_ref().map(|file| file.canonicalize()).transpose().context("no agent")?,
        nginx: ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from).into_iter().find(|file| file.is_file()),
        distribution: if smoke { None } else { Some(tidepool_tests::peer("registry")?) },
        upstream: upstream.address(),
        tree,
        folder: folder.to_owned(),
    };
    ensure!(smoke || programs.nginx.is_some(), "there is no nginx: tests/tools/apt.sh installs it");
    let command = match scale.size {
        Size::Full => "make bench",
        Size::Quick => "make bench-quick",
        Size::Smoke => "a smoke test",
    };
    let report = Report::new(command, !args.only.is_empty());
    Ok(Bench { scale, programs, catalogue, upstream, report })
}

fn catalogue(scale: &Scale, folder: &Path) -> Result<Catalogue> {
    let blobs = folder.join("blobs");
    std::fs::create_dir_all(&blobs).context("cannot make a folder")?;
    let mut catalogue = Catalogue::default();
    let sizes =
        [("huge", scale.huge), ("large", scale.large), ("medium", scale.medium), ("mebibyte", MIB), ("small", 4096)];
    for (name, size) in sizes {
        catalogue.add(&blobs, name, size)?;
    }
    Ok(catalogue)
}
