//! An upstream that does not answer as it should: tags that are kept, and tags that are not.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Bench;
use crate::pull::{Got, Reading, pull};
use crate::subject::Subject;
use crate::table::{Bar, Line, Unit, Who};
use crate::upstream::{Behaviour, Reach};

const OUTAGES: [(&str, Reach); 5] = [
    ("refused", Reach::Refused),
    ("silent", Reach::Silent),
    ("429", Reach::Status(429)),
    ("503", Reach::Status(503)),
    ("401", Reach::Status(401)),
];

/// What is asked of a mirror, in this order; the last of one that has just started and knows of no outage.
const ASKED: [(&str, u16); 4] = [
    ("kept tag, first answer", 200),
    ("kept tag, second answer", 200),
    ("tag not kept, answered 503", 503),
    ("tag not kept and nothing asked before, answered 503", 503),
];

/// Each line shows the worst outage of all.
pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let mut lines = lines();
    for who in bench.mirrors_for_faults() {
        let mut worst = [0.0_f64; 4];
        for (name, reach) in OUTAGES {
            let Some(answers) = outage(bench, who, reach)? else { continue };
            for (index, got) in answers.iter().enumerate().filter(|(index, _)| is_barred(*index, reach)) {
                let digest = &bench.image("small")?.digest;
                if got.status != ASKED[index].1 || got.error.is_some() {
                    lines[index].fail(who, format!("{name}: {}", said(got)));
                } else if got.status != 200 || lines[index].judge(who, got, digest) {
                    let scale = if lines[index].unit == Unit::Milliseconds { 1000.0 } else { 1.0 };
                    worst[index] = worst[index].max(got.took.as_secs_f64() * scale);
                }
            }
        }
        for (line, worst) in lines.iter_mut().zip(worst).filter(|(_, worst)| *worst > 0.0) {
            line.add(who, worst);
        }
    }
    lines.into_iter().for_each(|line| bench.report.push(line));
    Ok(())
}

fn lines() -> [Line; 4] {
    let [first, second, unkept, unknown] = ASKED.map(|(asked, status)| {
        let no = if status == 200 { ", 401" } else { "" };
        format!("upstream refuses, is silent, says 429, 503{no}, the worst: {asked}")
    });
    [
        Line::new(first, Unit::Seconds).bar(Bar::Most(2.0)).plot("outage: kept tag"),
        Line::new(second, Unit::Milliseconds).bar(Bar::Most(10.0)),
        Line::new(unkept, Unit::Seconds).bar(Bar::Most(8.0)),
        Line::new(unknown, Unit::Seconds).bar(Bar::Most(8.0)),
    ]
}

/// A registry that wants a login may have no such image: what a mirror then says is its own choice.
fn is_barred(index: usize, reach: Reach) -> bool {
    ASKED[index].1 == 200 || reach != Reach::Status(401)
}

fn outage(bench: &mut Bench, who: Who, reach: Reach) -> Result<Option<[Got; 4]>> {
    bench.upstream.behave(Behaviour::default())?;
    let Some(subject) = bench.fresh(who)? else { return Ok(None) };
    let digest = bench.image("small")?.digest.clone();
    let warm = ask(bench, &subject, "latest")?;
    ensure!(warm.verdict(&digest) == "right", "{} when all is well: {warm:?}", who.name());
    // Started while all is well, for some do not start without their upstream.
    let store = bench.programs.fresh("outage")?;
    let Some(other) = bench.programs.mirror(who, &store)? else { return Ok(None) };
    // A mirror may take a moment to keep what it passed on.
    std::thread::sleep(Duration::from_millis(100));
    bench.upstream.behave(Behaviour::reach(reach))?;
    let [first, second, unkept] = ["latest", "latest", "other"].map(|tag| ask(bench, &subject, tag));
    let unknown = ask(bench, &other, "latest");
    [subject, other].into_iter().for_each(|subject| bench.end(subject));
    Ok(Some([first?, second?, unkept?, unknown?]))
}

fn ask(bench: &Bench, subject: &Subject, tag: &str) -> Result<Got> {
    let path = bench.image("small")?.manifest_path(tag);
    let started = Instant::now();
    let got = pull(subject.address, &path, Reading::Hash, bench.scale.patience);
    Ok(Got { took: started.elapsed(), ..got })
}

fn said(got: &Got) -> String {
    match got.status {
        0 => format!("nothing in {:.0} s", got.took.as_secs_f64()),
        status => format!("{status} after {:.2} s", got.took.as_secs_f64()),
    }
}
