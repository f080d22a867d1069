//! Kept blobs: how fast they leave, and at what cost.

use anyhow::Result;

use super::{Bench, throughput};
use crate::pull::Reading;
use crate::scale::{GIB, bytes};
use crate::storm::precise;
use crate::subject::{Nginx, Subject};
use crate::table::{Bar, Line, Unit, Who};
use crate::tls::Identities;

/// Pulls of one reader are too short for the clock that counts CPU time: so many are one sample.
const PULLS_OF_ONE: u64 = 4;

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let image = bench.image("large")?;
    let subjects = start(bench)?;
    for subject in &subjects {
        subject.warm(&image.blob_path(), &image.layer.digest)?;
    }
    for readers in bench.scale.readers {
        let what =
            format!("hot {} blob, {readers} reader{}", bytes(image.layer.size), if readers == 1 { "" } else { "s" });
        let fast = Line::new(what.clone(), Unit::MibPerSecond).bar(Bar::LeastTimes(0.9, Who::Nginx));
        // As many bytes a CPU second as 0.9 of nginx.
        let cheap = Line::new(what.clone(), Unit::CpuPerGib).bar(Bar::MostTimes(1.11, Who::Nginx));
        let memory = Line::new(what, Unit::Mib).bar(Bar::Most(40.0));
        let mut lines = match readers {
            8.. if readers == bench.scale.readers[2] => [
                fast.plot("hot blob, 64 readers"),
                cheap.plot("hot blob, 64 readers"),
                memory.plot("memory, 64 readers"),
            ],
            1 => [fast.plot("hot blob, 1 reader"), cheap.plot("hot blob, 1 reader"), memory],
            _ => [fast, cheap, memory],
        };
        lines[2].what.push_str(": peak memory");
        let rounds = if readers == 1 { PULLS_OF_ONE * GIB / image.layer.size.max(GIB / 4) } else { 1 };
        let scale = bench.scale;
        for sample in 0..scale.samples {
            // distribution takes as long as all others together, and is no bar.
            let rivals = if readers == scale.readers[2] { 1 } else { scale.few };
            for subject in subjects.iter().filter(|peer| peer.who != Who::Distribution || sample < rivals) {
                subject.family.forget_peak()?;
                let (speed, cost) = throughput(subject, &image, readers, usize::try_from(rounds)?)?;
                lines[0].add(subject.who, speed);
                lines[1].add(subject.who, cost);
                lines[2].add(subject.who, subject.family.peak()?);
            }
        }
        lines.into_iter().for_each(|line| bench.report.push(line));
    }
    subjects.into_iter().for_each(|subject| bench.end(subject));
    Ok(())
}

/// The product and those that serve what they keep, all at once: who is not asked costs nothing.
pub(super) fn start(bench: &Bench) -> Result<Vec<Subject>> {
    let programs = &bench.programs;
    let mut subjects = vec![programs.tidepool(&programs.fresh("hot-tidepool")?, None)?];
    for (name, kind) in [("hot-nopush", Nginx::Nopush), ("hot-push", Nginx::Push)] {
        subjects.extend(programs.nginx(kind, &programs.fresh(name)?)?);
    }
    subjects.extend(programs.mirror(Who::Distribution, &programs.fresh("hot-distribution")?)?);
    Ok(subjects)
}

/// The same by the agents' listener: mutual TLS.
pub(super) fn tls(bench: &mut Bench) -> Result<()> {
    let (image, identities) = (bench.image("large")?, Identities::new(None)?);
    let subject = bench.programs.tidepool(&bench.programs.fresh("hot-tls")?, Some(&identities))?;
    subject.warm(&image.blob_path(), &image.layer.digest)?;
    let checked = identities.pull(&image.blob_path(), Reading::Hash)?;
    anyhow::ensure!(checked.verdict(&image.layer.digest) == "right", "by TLS: {checked:?}");
    let what = format!("hot {} blob by mutual TLS, 1 reader", bytes(image.layer.size));
    let mut lines = [Line::new(what.clone(), Unit::MibPerSecond), Line::new(what, Unit::CpuPerGib)];
    for _ in 0..bench.scale.samples {
        let cpu = subject.family.cpu()?;
        let got = identities.pull(&image.blob_path(), Reading::Discard)?.ensure_complete("by TLS")?;
        let gib = precise(got.bytes >> 10) / precise(GIB >> 10);
        lines[0].add(Who::Tidepool, gib * 1024.0 / got.took.as_secs_f64());
        lines[1].add(Who::Tidepool, (subject.family.cpu()? - cpu) / gib);
    }
    lines.into_iter().for_each(|line| bench.report.push(line));
    bench.end(subject);
    Ok(())
}
