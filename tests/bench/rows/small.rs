//! Many small requests on connections that are kept.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, hot};
use crate::pull::{Reading, pull};
use crate::storm::{precise, storm};
use crate::subject::Subject;
use crate::table::{Bar, Line, Unit, Who};
use crate::upstream::Behaviour;

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
    heads(bench, &mirrors, &by_tag, size)?;
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
    for _ in 0..bench.scale.samples {
        for subject in subjects {
            let storm = storm(subject.address, path, length, connections, bench.scale.storm)?;
            line.add(subject.who, storm.per_second());
            slowest.add(subject.who, storm.p99.as_secs_f64() * 1000.0);
        }
    }
    bench.report.push(line);
    bench.report.push(slowest);
    Ok(())
}

/// What the upstream is asked must depend on round trips to it, not on how many ask for a tag. Nobody who comes while it
/// is asked may be given an answer from before: so of all who wait half at least share one question.
fn heads(bench: &mut Bench, subjects: &[&Subject], path: &str, length: u64) -> Result<()> {
    let away = Duration::from_millis(10);
    let what =
        format!("manifest by tag, registry {} ms away, {CONNECTIONS} connections: upstream HEADs", away.as_millis());
    let bar = Bar::Most(2000.0 / precise(CONNECTIONS as u64));
    let mut line = Line::new(what, Unit::PerThousand).bar(bar);
    bench.upstream.behave(Behaviour { away, ..Behaviour::default() })?;
    for _ in 0..bench.scale.samples {
        for subject in subjects {
            bench.upstream.take_counts();
            let storm = storm(subject.address, path, length, CONNECTIONS, bench.scale.storm.max(away * 20))?;
            let asked = bench.upstream.take_counts().manifest_heads;
            line.add(subject.who, 1000.0 * precise(asked) / precise(storm.answers));
        }
    }
    bench.upstream.behave(Behaviour::default())?;
    bench.report.push(line);
    Ok(())
}
