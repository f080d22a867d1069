//! Measuring a state: pulls on four nodes at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tidepool_tests::Disturbance;
use tidepool_tests::matrix::{Cell, Expect, Outcome, Pull, Row};

use crate::stage::{LAYERS_MIB, LINK_MIB, PAIRS, Stage};
use crate::state::State;

/// When a pull is given up.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// When a fault strikes a pull that runs.
const MIDDLE: Duration = Duration::from_secs(3);

/// How the pull of each node ended, and how many bytes the node received meanwhile.
type Outcomes = Vec<(usize, Outcome, u64)>;

/// Measures these pulls of a state, and leaves the cluster as it was.
pub(crate) fn state(stage: &Stage, state: &State, pulls: &[Pull]) -> Row {
    let (mut cells, mut trouble) = (Vec::new(), None);
    for &pull in pulls {
        if let Err(error) = self::pull(stage, state, pull, &mut cells) {
            println!("{error:#}");
            // What is awaited in vain says so last, after the state of the cluster.
            let told = error.to_string();
            trouble = Some(format!("{} pull: {}", pull.word(), told.lines().last().unwrap_or_default()));
            break;
        }
    }
    Row { name: state.name.to_owned(), title: state.title.to_owned(), expect: state.expect, cells, trouble }
}

/// A state that is not measured, for the cluster is lost.
pub(crate) fn none(state: &State) -> Row {
    let trouble = Some("an earlier state left a cluster that does not recover".to_owned());
    let (name, title) = (state.name.to_owned(), state.title.to_owned());
    Row { name, title, expect: state.expect, cells: Vec::new(), trouble }
}

fn pull(stage: &Stage, state: &State, pull: Pull, cells: &mut Vec<Cell>) -> Result<()> {
    let image = if pull == Pull::Warm { stage.warm()? } else { stage.fresh()? };
    let before = stage.registry()?.log()?.len();
    let outcomes = pulls(stage, state, pull, &image);
    let whole = |outcomes: &Outcomes| outcomes.iter().all(|(_, outcome, _)| matches!(outcome, Outcome::Pulled(_)));
    if pull == Pull::Warm && !outcomes.as_ref().is_ok_and(whole) {
        stage.spoil_warm();
    }
    let outcomes = outcomes?;
    let log = stage.registry()?.log()?.split_off(before);
    let ended = |node: usize| outcomes.iter().find(|(other, ..)| *other == node);
    for (with, plain, runtime) in PAIRS {
        let client = stage.cluster.node_address(with);
        let direct: u64 = log.iter().filter(|it| it.client == client && it.is_blob()).map(|it| it.bytes).sum();
        let through = 1.0 - direct as f64 / image_bytes();
        let (Some(&(_, with, received)), Some(&(_, plain, _))) = (ended(with), ended(plain)) else { continue };
        // What came twice is no excuse.
        let carried = Duration::from_secs_f64(image_bytes().min(received as f64) / (LINK_MIB << 20) as f64);
        cells.push(Cell { runtime, pull, with, plain, through, carried, usual: stage.usual(runtime) });
        if let Outcome::Pulled(took) = plain
            && state.expect == Expect::Mirror
        {
            stage.note_usual(runtime, took);
        }
    }
    Ok(())
}

fn image_bytes() -> f64 {
    f64::from(LAYERS_MIB.iter().sum::<u32>() << 20)
}

/// Pulls an image on all nodes at once while the fault is there, and takes the fault back.
fn pulls(stage: &Stage, state: &State, pull: Pull, image: &str) -> Result<Outcomes> {
    let prepared = (state.prepare)(stage, pull)?;
    let struck = if pull == Pull::Running { None } else { Some((state.strike)(stage, pull)?) };
    let nodes: Vec<usize> = PAIRS.iter().flat_map(|(with, plain, _)| [*with, *plain]).collect();
    let (outcomes, struck) = std::thread::scope(|scope| {
        let cluster = &stage.cluster;
        let pulling: Vec<_> = nodes.iter().map(|&node| scope.spawn(move || timed(cluster, node, image))).collect();
        let struck = struck.map_or_else(|| in_the_middle(stage, state), Ok);
        let in_time = pull != Pull::Running || pulling.iter().any(|thread| !thread.is_finished());
        let ended = pulling.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a pull panicked"))?);
        let outcomes = ended.collect::<Result<Outcomes>>();
        (outcomes.and_then(|them| in_time.then_some(them).context("the fault came when all had pulled")), struck)
    });
    let healed = struck.and_then(|struck| prepared.and(struck).heal());
    for node in nodes {
        // Those that have it; also where the fault is still there, or the next pull would find layers.
        stage.cluster.try_in_node(node, &["crictl", "rmi", image])?;
    }
    healed?;
    stage.recover(state.renew)?;
    outcomes
}

fn in_the_middle<'a>(stage: &'a Stage, state: &State) -> Result<Disturbance<'a>> {
    std::thread::sleep(MIDDLE);
    (state.strike)(stage, Pull::Running)
}

fn timed(cluster: &tidepool_tests::Cluster, node: usize, image: &str) -> Result<(usize, Outcome, u64)> {
    let before = cluster.received(node)?;
    let started = Instant::now();
    let pulled = cluster.try_pull_within(node, image, GIVEN_UP)?;
    let took = started.elapsed();
    let received = cluster.received(node)?.saturating_sub(before);
    let outcome = match (pulled.success, took >= GIVEN_UP) {
        (true, _) => Outcome::Pulled(took),
        (false, true) => Outcome::Hung(GIVEN_UP),
        (false, false) => {
            let why = pulled.stderr.trim().replace('\n', " ");
            println!("  node{node}, after {:.1} MiB: {why}", received as f64 / f64::from(1 << 20));
            Outcome::Failed(took)
        }
    };
    Ok((node, outcome, received))
}
