//! A node's path: from the runtime through the agent, over mutual TLS, to a member with the blob.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use crate::pull::{Got, Reading, pull};
use crate::scale::{GIB, bytes};
use crate::storm::precise;
use crate::subject::{Link, Subject};
use crate::table::{Bar, Line, Unit, Who};
use crate::tls::Identities;

/// What nodes of clouds commonly have of one connection.
const RATE: &str = "2500mbit";
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn rows(bench: &mut Bench) -> Result<()> {
    // A crowd of readers would take the link for minutes with the large one.
    let (image, smaller) = (bench.image("large")?, bench.image("medium")?);
    let store = bench.programs.fresh("node")?;
    let link = Link::new(RATE)?;
    // Filled on this side of the link, where the upstream is.
    let filling = bench.programs.tidepool(&store, None)?;
    for image in [&image, &smaller] {
        filling.warm(&image.blob_path(), &image.layer.digest)?;
    }
    bench.end(filling);
    let identities = Identities::new(link.as_ref().map(|_| Link::address()))?;
    let member = bench.programs.tidepool_at(&store, Some(&identities), link.as_ref())?;
    let Some(agent) = bench.programs.agent(&identities)? else {
        eprintln!("  there is no --agent: left out");
        return Ok(());
    };
    let path = format!("{}?ns=docker.io", image.blob_path());
    let checked = until_it_serves(&agent, &path)?;
    anyhow::ensure!(checked.verdict(&image.layer.digest) == "right", "through the agent: {checked:?}");
    let what = format!("hot {} blob through the agent", bytes(image.layer.size));
    let linked = link.as_ref().map_or("", |_| ", link of 2.5 Gbit/s");
    let mut fast = Line::new(format!("{what}{linked}"), Unit::MibPerSecond).bar(Bar::LeastTimes(0.95, Who::Direct));
    let mut cheap = Line::new(format!("{what}: agent and member"), Unit::CpuPerGib).bar(Bar::Most(2.0));
    let (crowd, size) = (bench.scale.readers[2], bytes(smaller.layer.size));
    let what = format!("hot {size} blob through the agent, {crowd} readers: peak memory of the agent");
    let mut memory = Line::new(what, Unit::Mib).bar(Bar::Most(40.0));
    for _ in 0..bench.scale.samples {
        let before = agent.family.cpu()? + member.family.cpu()?;
        let got = pull(agent.address, &path, Reading::Discard, PATIENCE).ensure_complete("through the agent")?;
        cheap.add(Who::Tidepool, (agent.family.cpu()? + member.family.cpu()? - before) / gib(&got));
        fast.add(Who::Tidepool, speed(&got));
        let direct = pull(member.address, &image.blob_path(), Reading::Discard, PATIENCE);
        fast.add(Who::Direct, speed(&direct.ensure_complete("directly")?));
    }
    agent.family.forget_peak()?;
    let path = format!("{}?ns=docker.io", smaller.blob_path());
    let (all, _) = crate::pull::pulls(agent.address, &path, crowd, Reading::Discard)?;
    for got in all {
        got.ensure_complete("through the agent, with others")?;
    }
    memory.add(Who::Tidepool, agent.family.peak()?);
    [fast, cheap, memory].into_iter().for_each(|line| bench.report.push(line));
    bench.end(agent);
    bench.end(member);
    Ok(())
}

/// The agent listens a moment before it knows its members.
fn until_it_serves(agent: &Subject, path: &str) -> Result<Got> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let got = pull(agent.address, path, Reading::Hash, PATIENCE);
        if got.status == 200 {
            return Ok(got);
        }
        (Instant::now() < deadline).then_some(()).with_context(|| format!("the agent does not serve: {got:?}"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn gib(got: &Got) -> f64 {
    precise(got.bytes >> 10) / precise(GIB >> 10)
}

fn speed(got: &Got) -> f64 {
    gib(got) * 1024.0 / got.took.as_secs_f64()
}
