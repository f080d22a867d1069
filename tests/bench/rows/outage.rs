//! An upstream that does not answer as it should: tags that are kept, and tags that are not.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use crate::pull::{Got, Reading, pull};
use crate::table::{Bar, Line, Unit, Who};
use crate::upstream::{Behaviour, Reach};

const OUTAGES: [(&str, Reach); 5] = [
    ("refused", Reach::Refused),
    ("silent", Reach::Silent),
    ("429", Reach::Status(429)),
    ("401", Reach::Status(401)),
    ("503", Reach::Status(503)),
];

/// Each line shows the worst outage of all.
pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    let what = "upstream refuses, is silent, says 429, 401, 503, the worst: ";
    let mut lines = [
        Line::new(format!("{what}kept tag, first answer"), Unit::Seconds).bar(Bar::Most(2.0)).plot("outage: kept tag"),
        Line::new(format!("{what}kept tag, second answer"), Unit::Milliseconds).bar(Bar::Most(10.0)),
        Line::new(format!("{what}tag not kept, answered 503"), Unit::Seconds).bar(Bar::Most(8.0)),
    ];
    for who in bench.mirrors_for_faults() {
        let mut worst = [None::<f64>; 3];
        for (name, reach) in OUTAGES {
            let Some(answers) = outage(bench, *who, reach)? else { continue };
            for ((index, got), expected) in answers.into_iter().enumerate().zip([200, 200, 503]) {
                if got.status == expected && got.error.is_none() {
                    let scale = if index == 1 { 1000.0 } else { 1.0 };
                    let took = got.took.as_secs_f64() * scale;
                    worst[index] = Some(worst[index].map_or(took, |worst| worst.max(took)));
                } else {
                    lines[index].fail(*who, format!("{name}: {}", said(&got)));
                }
            }
        }
        for (line, worst) in lines.iter_mut().zip(worst) {
            worst.into_iter().for_each(|worst| line.add(*who, worst));
        }
    }
    lines.into_iter().for_each(|line| bench.report.push(line));
    Ok(())
}

fn outage(bench: &mut Bench, who: Who, reach: Reach) -> Result<Option<[Got; 3]>> {
    bench.upstream.behave(Behaviour::default())?;
    let image = bench.image("small")?;
    let Some(subject) = bench.fresh(who)? else { return Ok(None) };
    let ask = |tag: &str| {
        let started = Instant::now();
        let got = pull(subject.address, &image.manifest_path(tag), Reading::Hash, bench.scale.patience);
        Got { took: started.elapsed(), ..got }
    };
    let warm = ask("latest");
    anyhow::ensure!(warm.verdict(&image.digest) == "right", "{} when all is well: {warm:?}", who.name());
    // A mirror may take a moment to keep what it passed on.
    std::thread::sleep(Duration::from_millis(100));
    bench.upstream.behave(Behaviour::reach(reach))?;
    let answers = [ask("latest"), ask("latest"), ask("other")];
    bench.end(subject);
    Ok(Some(answers))
}

fn said(got: &Got) -> String {
    match got.status {
        0 => format!("nothing in {:.0} s", got.took.as_secs_f64()),
        status => format!("{status} after {:.2} s", got.took.as_secs_f64()),
    }
}
