//! What is measured, a file for each kind of question.

mod cold;
mod cuts;
mod damage;
mod herd;
mod hot;
mod memory;
mod node;
mod outage;
mod small;
mod start;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::content::{Catalogue, Image};
use crate::pull::{Reading, pulls};
use crate::report::Report;
use crate::scale::Scale;
use crate::subject::{Programs, Subject};
use crate::table::Who;
use crate::upstream::{Behaviour, Upstream};

/// What every row needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    pub(crate) programs: Programs,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) upstream: Upstream,
    pub(crate) report: Report,
}

type Rows = fn(&mut Bench) -> Result<()>;

/// All rows, by the names that `--only` knows.
pub(crate) const ROWS: [(&str, Rows); 11] = [
    ("hot", hot::rows),
    ("tls", hot::tls),
    ("node", node::rows),
    ("small", small::rows),
    ("cold", cold::rows),
    ("links", cold::links),
    ("herd", herd::rows),
    ("memory", memory::rows),
    ("faults", cuts::rows),
    ("outage", outage::rows),
    ("start", start::rows),
];

/// The mirrors among the peers.
const MIRRORS: [Who; 3] = [Who::Tidepool, Who::NginxCache, Who::Distribution];

impl Bench {
    fn image(&self, name: &str) -> Result<Arc<Image>> {
        self.catalogue.image(name)
    }

    /// A mirror with an empty store; none where its program is missing.
    fn fresh(&self, who: Who) -> Result<Option<Subject>> {
        let store = self.programs.fresh(&who.folder())?;
        // What earlier samples left to be written must not be paid for by the next.
        rustix::fs::sync();
        self.programs.mirror(who, &store)
    }

    /// The mirrors that meet faults, each as often as it is measured: rivals once, for some take long to fail.
    fn mirrors_for_faults(&self) -> Vec<Who> {
        let rivals = if self.scale.rivals_meet_faults { &MIRRORS[1..] } else { &[] };
        std::iter::repeat_n(Who::Tidepool, self.scale.samples).chain(rivals.iter().copied()).collect()
    }

    /// Stops a subject, and notes what it used.
    fn end(&mut self, subject: Subject) {
        self.report.used(subject.family.cpu().unwrap_or(0.0));
        subject.stop();
    }
}

/// Pulls a blob by so many readers, so many times over, and says what a second and what a GiB of it cost.
fn throughput(subject: &Subject, image: &Image, readers: usize, rounds: usize) -> Result<(f64, f64)> {
    let (mut bytes, mut seconds) = (0, 0.0);
    let cpu = subject.family.cpu()?;
    for _ in 0..rounds {
        let (got, took) = pulls(subject.address, &image.blob_path(), readers, Reading::Discard)?;
        for got in got {
            bytes += got.ensure_complete(subject.who.name())?.bytes;
        }
        seconds += took.as_secs_f64();
    }
    let (cpu, mib) = (subject.family.cpu()? - cpu, crate::storm::precise(bytes >> 10) / 1024.0);
    Ok((mib / seconds, cpu / (mib / 1024.0)))
}

/// Runs rows; what one of them cannot measure does not keep the others from it.
pub(crate) fn run(bench: &mut Bench, only: &[String]) -> Result<()> {
    for (name, rows) in ROWS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("{name}");
        let started = Instant::now();
        if let Err(error) = rows(bench) {
            eprintln!("  {name} could not be measured: {error:#}");
            bench.report.broken(format!("{name} could not be measured: {error:#}"));
        }
        eprintln!("  {:.0} s", started.elapsed().as_secs_f64());
        bench.upstream.behave(Behaviour::default()).context("the upstream does not recover")?;
    }
    Ok(())
}
