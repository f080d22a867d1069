//! A start on a store that holds much, and what that costs in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use crate::content::digest_of;
use crate::scale::grouped;
use crate::subject::Subject;
use crate::table::{Bar, Line, Unit, Who};

/// Names that one file may have: file systems have a limit.
const NAMES: u32 = 30_000;
/// By then the product has begun to count what it keeps, which it does a second after its start.
const FIRST_COUNT: Duration = Duration::from_secs(2);

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let mut empty = Line::new("start to ready, empty store", Unit::Seconds).bar(Bar::Most(0.2));
    let store = bench.programs.fresh("started")?;
    let mut bare = f64::INFINITY;
    for _ in 0..bench.scale.samples {
        let subject = bench.programs.tidepool(&store, None)?;
        empty.add(Who::Tidepool, subject.ready_after.as_secs_f64());
        bare = bare.min(settled(&subject)?);
        bench.end(subject);
        let rival = bench.fresh(Who::Distribution)?;
        if let Some(rival) = rival {
            empty.add(Who::Distribution, rival.ready_after.as_secs_f64());
            bench.end(rival);
        }
    }
    let base = empty.median(Who::Tidepool).unwrap_or(0.0);
    bench.report.push(empty);
    let mut filled = 0;
    for count in bench.scale.stored {
        stock(&store, filled..*count)?;
        filled = *count;
        let what = format!("start to ready, {} blobs kept", grouped(u64::from(*count)));
        let mut line = Line::new(what, Unit::Seconds).bar(Bar::Most((base * 1.2).min(0.2)));
        let mut memory = Line::new(format!("{} blobs kept: memory for each", grouped(u64::from(*count))), Unit::Bytes)
            .bar(Bar::Most(32.0));
        for sample in 0..bench.scale.samples {
            let subject = bench.programs.tidepool(&store, None)?;
            line.add(Who::Tidepool, subject.ready_after.as_secs_f64());
            if sample == 0 {
                let more = (settled(&subject)? - bare).max(0.0) * 1024.0 * 1024.0;
                memory.add(Who::Tidepool, more / f64::from(*count));
            }
            bench.end(subject);
        }
        bench.report.push(line);
        bench.report.push(memory);
    }
    fs::remove_dir_all(&store).context("cannot remove a store")
}

/// The peak of memory once it has counted what it keeps and has nothing more to do.
fn settled(subject: &Subject) -> Result<f64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::sleep(FIRST_COUNT);
    let mut before = subject.family.cpu()?;
    loop {
        std::thread::sleep(Duration::from_millis(400));
        let now = subject.family.cpu()?;
        // A clock tick in all that time is idle.
        if now - before < 0.011 || Instant::now() > deadline {
            return subject.family.peak();
        }
        before = now;
    }
}

/// Puts blobs of a byte into a store, each with a file of checksums as the store has them. Many names are of one file:
/// what is looked at are names, and a million files take minutes to come and go.
fn stock(store: &Path, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut first: Option<PathBuf> = None;
    let mut made = [false; 256];
    for number in numbers {
        let digest = digest_of(&number.to_le_bytes());
        let blob = crate::subject::blob_path(store, &digest);
        let folder = blob.parent().context("no folder")?;
        let prefix = u8::from_str_radix(digest.get(7..9).unwrap_or_default(), 16).unwrap_or(0);
        if !std::mem::replace(&mut made[usize::from(prefix)], true) {
            fs::create_dir_all(folder).context("cannot make a folder")?;
        }
        let sums = blob.with_extension("sums");
        match first.as_ref().filter(|_| !number.is_multiple_of(NAMES)) {
            Some(first) => {
                fs::hard_link(first, &blob).context("cannot link a blob")?;
                fs::hard_link(first.with_extension("sums"), sums).context("cannot link checksums")?;
            }
            None => {
                fs::write(&blob, b"x").context("cannot make a blob")?;
                fs::write(sums, [0; 40]).context("cannot make checksums")?;
                first = Some(blob);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stocked_store_holds_that_many_blobs_with_checksums() {
        let dir = tempfile::tempdir().unwrap();
        stock(dir.path(), 0..300).unwrap();
        let folders = fs::read_dir(dir.path().join("blobs/sha256")).unwrap();
        let files: usize = folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum();
        assert_eq!(files, 600);
    }
}
