//! Many readers of one blob that nobody has.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, MIRRORS};
use crate::pull::{Reading, pulls};
use crate::scale::bytes;
use crate::storm::precise;
use crate::table::{Bar, Line, Unit};

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let scale = bench.scale;
    let (image, readers) = (bench.image("medium")?, scale.readers[2]);
    let what = format!("{readers} readers of one cold {} blob", bytes(image.layer.size));
    let mut sent = Line::new(what.clone(), Unit::Times).bar(Bar::Most(1.05)).plot("herd: upstream sends");
    let mut wall = Line::new(format!("{what}: all have it after"), Unit::Seconds).bar(Bar::Most(1.8));
    let mut cpu = Line::new(what, Unit::CpuSeconds).bar(Bar::Most(1.9)).plot("herd of 64");
    for sample in 0..scale.samples {
        for who in MIRRORS.into_iter().filter(|who| sample < scale.samples_of(*who)) {
            let Some(subject) = bench.fresh(who)? else { continue };
            bench.upstream.take_counts();
            let before = subject.family.cpu()?;
            let (got, took) = pulls(subject.address, &image.blob_path(), readers, Reading::Discard)?;
            for got in got {
                got.ensure_complete(who.name())?;
            }
            wall.add(who, took.as_secs_f64());
            subject.until_kept(&image.layer.digest, Duration::from_secs(60))?;
            cpu.add(who, subject.family.cpu()? - before);
            let bytes = bench.upstream.take_counts().bytes_of(&image.layer.digest);
            sent.add(who, precise(bytes) / precise(image.layer.size));
            if sample == 0 {
                subject.warm(&image.blob_path(), &image.layer.digest)?;
            }
            bench.end(subject);
        }
    }
    [sent, wall, cpu].into_iter().for_each(|line| bench.report.push(line));
    Ok(())
}
