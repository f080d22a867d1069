//! Resident memory while a very large blob is filled. That of many readers is in the hot rows.

use anyhow::Result;

use super::{Bench, cold};
use crate::scale::bytes;
use crate::table::{Bar, Line, Unit, Who};

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let image = bench.image("huge")?;
    let what = format!("fill of a {} blob: peak memory", bytes(image.layer.size));
    let mut line = Line::new(what, Unit::Mib).bar(Bar::Most(40.0));
    for _ in 0..bench.scale.samples {
        let Some(subject) = bench.fresh(Who::Tidepool)? else { break };
        subject.family.forget_peak()?;
        cold::fill_by(bench, &subject, &image)?;
        line.add(Who::Tidepool, subject.family.peak()?);
        bench.end(subject);
    }
    // Nobody needs it any more, and the disk may be small.
    bench.programs.fresh(&Who::Tidepool.folder())?;
    bench.report.push(line);
    Ok(())
}
