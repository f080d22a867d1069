//! Files that changed on disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use crate::pull::{Reading, pull};
use crate::scale::bytes;
use crate::table::{Bar, Line, Unit, Who};

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Truncate,
}

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let size = bytes(bench.image("medium")?.layer.size);
    for (what, damage, restart) in [
        ("a byte flipped in a kept", Damage::Flip, true),
        ("a kept file cut in half,", Damage::Truncate, true),
        ("a byte flipped while it runs in a kept", Damage::Flip, false),
    ] {
        let what = format!("{what} {size} blob: right bytes after");
        let mut line = Line::new(what, Unit::Seconds).bar(Bar::Right);
        for who in bench.mirrors_for_faults() {
            one(bench, who, damage, restart, &mut line)?;
        }
        bench.report.push(line);
    }
    Ok(())
}

fn one(bench: &mut Bench, who: Who, damage: Damage, restart: bool, line: &mut Line) -> Result<()> {
    let image = bench.image("medium")?;
    let Some(mut subject) = bench.fresh(who)? else { return Ok(()) };
    subject.warm(&image.blob_path(), &image.layer.digest)?;
    // Some keep what they passed on a moment later.
    let _ = subject.until_kept(&image.layer.digest, Duration::from_secs(10));
    let Some(file) = subject.kept(&image.layer.digest) else {
        line.fail(who, "keeps nothing");
        bench.end(subject);
        return Ok(());
    };
    if restart {
        let store = subject.stop();
        spoil(&file, damage)?;
        let Some(again) = bench.programs.mirror(who, &store)? else { return Ok(()) };
        subject = again;
    } else {
        spoil(&file, damage)?;
    }
    let got = pull(subject.address, &image.blob_path(), Reading::Hash, bench.scale.patience);
    if line.judge(who, &got, &image.layer.digest) {
        line.add(who, got.took.as_secs_f64());
    }
    bench.end(subject);
    Ok(())
}

/// As a failing disk does it: no time of the file tells.
fn spoil(path: &Path, damage: Damage) -> Result<()> {
    let file = File::options().read(true).write(true).open(path).context("cannot open what is kept")?;
    let meta = file.metadata().context("cannot look at what is kept")?;
    let (modified, middle) = (meta.modified().context("no time")?, meta.len() / 2);
    match damage {
        Damage::Flip => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, middle).context("cannot read what is kept")?;
            file.write_all_at(&[byte[0] ^ 1], middle).context("cannot spoil what is kept")?;
        }
        Damage::Truncate => file.set_len(middle).context("cannot cut what is kept")?,
    }
    file.set_modified(modified).context("cannot set a time")
}
