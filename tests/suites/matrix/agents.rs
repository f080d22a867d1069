//! Faults of agents and their nodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidepool_tests::matrix::Pull;
use tidepool_tests::{Disturbance, Pods};

use crate::operator;
use crate::stage::{PAIRS, Stage};

/// An agent's command line.
const PROGRAM: &str = "/tidepool-agent";
/// How long a looping agent lives: long enough to listen, too short to be of use.
const LIFE: Duration = Duration::from_millis(1500);

/// Does something to the agents of all nodes that pull.
fn on_all<'a>(act: impl Fn(usize) -> Result<Disturbance<'a>>) -> Result<Disturbance<'a>> {
    PAIRS.iter().try_fold(Disturbance::none(), |all, (node, ..)| Ok(all.and(act(*node)?)))
}

pub(crate) fn killed(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    on_all(|node| {
        ensure!(stage.cluster.kill_in_pods(Pods::Of(node), PROGRAM)? > 0, "no agent runs on node{node}");
        Ok(Disturbance::none())
    })
}

/// Stops what serves: of a supervisor and its child the child.
pub(crate) fn stopped(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    on_all(|node| stage.cluster.stop_children_in_pods(Pods::Of(node), PROGRAM))
}

pub(crate) fn all_stopped(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    on_all(|node| stage.cluster.stop_in_pods(Pods::Of(node), PROGRAM))
}

pub(crate) fn looping(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    on_all(|node| stage.cluster.keep_killing_in_pods(Pods::Of(node), PROGRAM, LIFE))
}

/// Kills agents while the API server is gone, and waits until they serve again from what they kept.
pub(crate) fn restarted_without_api(stage: &Stage, pull: Pull) -> Result<Disturbance<'_>> {
    let without_api = operator::api_killed(stage, pull)?;
    let struck = without_api.and(killed(stage, pull)?);
    for (node, ..) in PAIRS {
        let what = format!("agent on node{node} that serves without the API server");
        tidepool_tests::until(Duration::from_secs(60), Duration::from_millis(200), &what, || answers(stage, node))?;
    }
    Ok(struck)
}

/// Whether a node's agent answers for an image that the mirror keeps.
pub(crate) fn answers(stage: &Stage, node: usize) -> Result<bool> {
    let url = "http://127.0.0.1:909/v2/matrix/tiny/manifests/1?ns=docker.io";
    let ask = ["curl", "-sfI", "-m", "5", "-H", "Accept: */*", "-o", "/dev/null", url];
    Ok(stage.cluster.try_in_node(node, &ask)?.success)
}

/// Boots the nodes anew while the API server is gone: kubelet then knows of no pod, and no agent runs.
pub(crate) fn booted_without_api(stage: &Stage, pull: Pull) -> Result<Disturbance<'_>> {
    let without_api = operator::api_killed(stage, pull)?;
    PAIRS.iter().try_for_each(|(node, ..)| stage.cluster.reboot(*node))?;
    Ok(without_api)
}
