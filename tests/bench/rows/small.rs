//! Many small requests on connections that are kept.

use anyhow::Result;

use super::{Bench, hot};
use crate::pull::{Reading, pull};
use crate::storm::{Storm, precise, storm};
use crate::subject::Subject;
use crate::table::{Bar, Line, Unit, Who};

const CONNECTIONS: usize = 64;
/// zot, the best rival here, answered 16,400 tags a second where nginx answered 97,300 files, each measured by hand in
/// one run on one machine. Twice zot is therefore this much of nginx, which is measured in every run.
const TWICE_ZOT: f64 = 0.34;

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let (blob, manifest) = (bench.image("mebibyte")?, bench.image("small")?);
    let subjects = hot::start(bench)?;
    let by_digest = manifest.manifest_path(&manifest.digest);
    let by_tag = manifest.manifest_path("latest");
    for subject in &subjects {
        subject.warm(&blob.blob_path(), &blob.layer.digest)?;
        for path in [&by_tag, &by_digest] {
            let got = pull(subject.address, path, Reading::Hash, bench.scale.patience);
            let verdict = got.verdict(&manifest.digest);
            anyhow::ensure!(verdict == "right", "{} answers {path}: {verdict}", subject.who.name());
        }
    }
    let all: Vec<&Subject> = subjects.iter().collect();
    let size = manifest.manifest.len() as u64;
    let line = Line::new("hot 1 MiB blob, 64 connections", Unit::PerSecond).bar(Bar::LeastTimes(0.9, Who::Nginx));
    measure(bench, &all, line.plot("hot 1 MiB blob"), &blob.blob_path(), blob.layer.size, CONNECTIONS)?;
    let line = Line::new("manifest by digest, 64 connections", Unit::PerSecond).bar(Bar::LeastTimes(0.8, Who::Nginx));
    measure(bench, &all, line.plot("manifest by digest"), &by_digest, size, CONNECTIONS)?;
    let (files, mirrors): (Vec<_>, Vec<_>) = all.into_iter().partition(|subject| is_files(subject.who));
    let line = Line::new("manifest by tag, asked upstream each time, 64 connections", Unit::PerSecond);
    let both: Vec<_> = mirrors.iter().chain(&files).copied().collect();
    let line = line.bar(Bar::LeastTimes(TWICE_ZOT, Who::Nginx)).plot("manifest by tag");
    measure(bench, &both, line, &by_tag, size, CONNECTIONS)?;
    let line = Line::new("manifest by tag, asked upstream each time, 1 connection", Unit::PerSecond);
    measure(bench, &mirrors, line, &by_tag, size, 1)?;
    subjects.into_iter().for_each(|subject| bench.end(subject));
    Ok(())
}

fn is_files(who: Who) -> bool {
    matches!(who, Who::NginxNopush | Who::NginxPush)
}

fn measure(
    bench: &mut Bench,
    subjects: &[&Subject],
    mut line: Line,
    path: &str,
    length: u64,
    connections: usize,
) -> Result<()> {
    let mut slowest = Line::new(format!("{}: 99 of 100 within", line.what), Unit::Milliseconds);
    let mut heads = Line::new(format!("{}: upstream HEADs", line.what), Unit::PerThousand);
    for _ in 0..bench.scale.samples {
        for subject in subjects {
            bench.upstream.take_counts();
            let Storm { answers, p99, .. } = &storm(subject.address, path, length, connections, bench.scale.storm)
                .inspect(|storm| line.add(subject.who, storm.per_second()))?;
            slowest.add(subject.who, p99.as_secs_f64() * 1000.0);
            if !is_files(subject.who) {
                let asked = bench.upstream.take_counts().manifest_heads;
                heads.add(subject.who, 1000.0 * precise(asked) / precise(*answers));
            }
        }
    }
    let revalidated = line.what.contains("asked upstream");
    bench.report.push(line);
    bench.report.push(if revalidated { heads } else { slowest });
    Ok(())
}
