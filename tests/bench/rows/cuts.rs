//! An upstream that breaks off, stands still or lies in the middle of a blob, and a disk that does.

use anyhow::Result;

use super::{Bench, damage};
use crate::pull::{Got, Reading, pull};
use crate::scale::bytes;
use crate::storm::precise;
use crate::table::{Bar, Line, Unit, Who};
use crate::upstream::{Behaviour, BlobFault};

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let size = bytes(bench.image("medium")?.layer.size);
    for (name, fault) in [("breaks off", BlobFault::CutOnce), ("stands still", BlobFault::StallOnce)] {
        let what = format!("upstream {name} at 30 % of a {size} blob");
        let mut took = Line::new(format!("{what}: client has it after"), Unit::Seconds).bar(Bar::Right);
        let mut sent = Line::new(what, Unit::Times).bar(Bar::Most(1.05));
        for who in bench.mirrors_for_faults() {
            let Some((got, times)) = faulty(bench, who, fault)? else { continue };
            if took.judge(who, &got, &bench.image("medium")?.layer.digest) {
                took.add(who, got.took.as_secs_f64());
                sent.add(who, times);
            } else {
                sent.fail(who, took.show(who));
            }
        }
        bench.report.push(took);
        bench.report.push(sent);
    }
    wrong(bench, &size)?;
    damage::rows(bench)
}

/// A pull while the upstream has a fault, and what the upstream sent for it, in blobs.
fn faulty(bench: &mut Bench, who: Who, fault: BlobFault) -> Result<Option<(Got, f64)>> {
    let image = bench.image("medium")?;
    bench.upstream.behave(Behaviour::blobs(fault))?;
    let Some(subject) = bench.fresh(who)? else { return Ok(None) };
    bench.upstream.take_counts();
    let got = pull(subject.address, &image.blob_path(), Reading::Hash, bench.scale.patience);
    let sent = bench.upstream.take_counts().bytes_of(&image.layer.digest);
    bench.end(subject);
    Ok(Some((got, precise(sent) / precise(image.layer.size))))
}

/// The client must notice, nothing may be kept, and once the upstream is well all is.
fn wrong(bench: &mut Bench, size: &str) -> Result<()> {
    let image = bench.image("medium")?;
    let what =
        format!("upstream sends a wrong byte in a {size} blob: broken body, nothing kept, next pull right after");
    let mut line = Line::new(what, Unit::Seconds).bar(Bar::Right);
    for who in bench.mirrors_for_faults() {
        bench.upstream.behave(Behaviour::blobs(BlobFault::Wrong))?;
        let Some(subject) = bench.fresh(who)? else { continue };
        let got = pull(subject.address, &image.blob_path(), Reading::Hash, bench.scale.patience);
        let first = got.verdict(&image.layer.digest);
        bench.upstream.behave(Behaviour::default())?;
        let got = pull(subject.address, &image.blob_path(), Reading::Hash, bench.scale.patience);
        let next = got.verdict(&image.layer.digest);
        match (first.as_str(), next.as_str()) {
            ("right" | "wrong bytes", _) => line.wrong(who, format!("passes it on; next pull {next}")),
            (_, "right") => line.add(who, got.took.as_secs_f64()),
            (_, "wrong bytes") => line.wrong(who, format!("{first}; next pull wrong bytes")),
            _ => line.fail(who, format!("{first}; next pull {next}")),
        }
        bench.end(subject);
    }
    bench.report.push(line);
    Ok(())
}
