//! A blob that is not kept yet: how long until the client has it, how long until it is kept, and what that costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Bench, MIRRORS};
use crate::content::Image;
use crate::floor;
use crate::pull::{Got, Reading, Session};
use crate::scale::bytes;
use crate::storm::precise;
use crate::subject::Subject;
use crate::table::{Bar, Line, Unit, Who};
use crate::upstream::Behaviour;

/// A pull of an image nobody has, by one client.
pub(super) struct Fill {
    pub(super) got: Got,
    /// Until the client had all.
    pub(super) done: f64,
    /// Until it was kept.
    pub(super) kept: f64,
    pub(super) cpu: f64,
    /// What the upstream sent, in blobs.
    pub(super) upstream: f64,
}

/// As fast as the upstream can.
pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let (image, scale) = (bench.image("large")?, bench.scale);
    let what = format!("cold {} blob", bytes(image.layer.size));
    let mut done = Line::new(format!("{what}: client has it after"), Unit::Seconds);
    let bar = Bar::MostTimes(1.5, Who::Floor);
    let mut kept = Line::new(format!("{what}: kept after"), Unit::Seconds).bar(bar).plot("cold blob kept after");
    let mut cpu = Line::new(what, Unit::CpuSeconds).bar(bar).plot("cold blob");
    for sample in 0..scale.samples {
        let (took, used) = floor::fill(bench.upstream.address(), &image, &bench.programs.folder.join("floor"))?;
        kept.add(Who::Floor, took.as_secs_f64());
        cpu.add(Who::Floor, used);
        done.add(Who::Direct, direct(bench, &image)?.took.as_secs_f64());
        for who in MIRRORS.into_iter().filter(|who| sample < scale.samples_of(*who)) {
            let Some(fill) = fill(bench, who, &image, sample == 0)? else { continue };
            done.add(who, fill.done);
            kept.add(who, fill.kept);
            cpu.add(who, fill.cpu);
        }
    }
    [done, kept, cpu].into_iter().for_each(|line| bench.report.push(line));
    Ok(())
}

/// As fast as a link, or as an upstream that caps each connection.
pub(super) fn links(bench: &mut Bench) -> Result<()> {
    let image = bench.image("large")?;
    let what = |link: &str| format!("cold {} blob, {link}", bytes(image.layer.size));
    let rates = [
        (what("link of 125 MB/s"), Behaviour::link(125), 1.02, None),
        (what("link of 250 MB/s"), Behaviour::link(250), 1.02, Some("cold blob at 250 MB/s")),
        (what("30 MB/s a connection"), Behaviour::each(30), 0.4, Some("cold blob, 30 MB/s a connection")),
    ];
    for (what, behaviour, most, plot) in rates {
        bench.upstream.behave(behaviour)?;
        let mut done = Line::new(what.clone(), Unit::Seconds).bar(Bar::MostTimes(most, Who::Direct));
        done.plot = plot.map(str::to_owned);
        let mut sent = Line::new(what.clone(), Unit::Times).bar(Bar::Most(1.05));
        let mut first =
            Line::new(format!("{what}: first byte"), Unit::Milliseconds).bar(Bar::MostMore(50.0, Who::Direct));
        // A link's rate is what it is: one sample of who waits for it alone says all.
        let got = direct(bench, &image)?;
        done.add(Who::Direct, got.took.as_secs_f64());
        first.add(Who::Direct, got.first_byte.as_secs_f64() * 1000.0);
        for (sample, who) in (0..bench.scale.samples).flat_map(|sample| MIRRORS.map(|who| (sample, who))) {
            if who != Who::Tidepool && (sample > 0 || most < 1.0) {
                continue;
            }
            let Some(fill) = fill(bench, who, &image, false)? else { continue };
            done.add(who, fill.done);
            sent.add(who, fill.upstream);
            first.add(who, fill.got.first_byte.as_secs_f64() * 1000.0);
        }
        bench.report.push(done);
        bench.report.push(if most > 1.0 { first } else { sent });
    }
    Ok(())
}

fn direct(bench: &Bench, image: &Image) -> Result<Got> {
    let got = pull_image(bench.upstream.address(), image, Reading::Discard)?;
    got.ensure_complete("the upstream")
}

/// A mirror with an empty store fills one blob; where it is `checked`, the bytes are looked at too, after that.
pub(super) fn fill(bench: &mut Bench, who: Who, image: &Image, checked: bool) -> Result<Option<Fill>> {
    let Some(subject) = bench.fresh(who)? else { return Ok(None) };
    let fill = fill_by(bench, &subject, image)?;
    if checked {
        let got = pull_image(subject.address, image, Reading::Hash)?;
        let verdict = got.verdict(&image.layer.digest);
        ensure!(verdict == "right", "{} kept something else: {verdict}", who.name());
        check_a_fill(bench, &subject)?;
    }
    bench.end(subject);
    Ok(Some(fill))
}

pub(super) fn fill_by(bench: &Bench, subject: &Subject, image: &Image) -> Result<Fill> {
    bench.upstream.take_counts();
    let (cpu, started) = (subject.family.cpu()?, Instant::now());
    let got = pull_image(subject.address, image, Reading::Discard)?.ensure_complete(subject.who.name())?;
    let done = started.elapsed().as_secs_f64();
    let kept = subject.until_kept(&image.layer.digest, Duration::from_secs(60))? - started;
    let cpu = subject.family.cpu()? - cpu;
    let sent = bench.upstream.take_counts().bytes_of(&image.layer.digest);
    Ok(Fill { got, done, kept: kept.as_secs_f64(), cpu, upstream: precise(sent) / precise(image.layer.size) })
}

/// That the bytes of a fill in flight are right is seen on a smaller blob.
fn check_a_fill(bench: &Bench, subject: &Subject) -> Result<()> {
    let image = bench.image("medium")?;
    let got = pull_image(subject.address, &image, Reading::Hash)?;
    let verdict = got.verdict(&image.layer.digest);
    ensure!(verdict == "right", "{} passes on something else: {verdict}", subject.who.name());
    Ok(())
}

/// The manifest by tag, then the layer, as a runtime pulls; what is returned is of the layer.
fn pull_image(address: std::net::SocketAddr, image: &Image, reading: Reading) -> Result<Got> {
    let mut session = Session::open(address, Duration::from_secs(180)).context("cannot connect")?;
    let manifest = session.get(&image.manifest_path("latest"), None, Reading::Hash);
    ensure!(manifest.verdict(&image.digest) == "right", "the manifest: {manifest:?}");
    Ok(session.get(&image.blob_path(), None, reading))
}
