//! A report does not outlive its agent (design N5): a node whose agent cannot start says so.

use std::time::{Duration, Instant};

use tidepool_tests::Cluster;

use crate::installed::{AGENTS, MIRROR, SYSTEM, pull};

/// A minute until it is said, and what the cluster and the operator need to notice on a slow machine.
const SAID: Duration = Duration::from_secs(180);

/// Condition `Ready` of a node: `status/reason` and the message.
fn ready(cluster: &Cluster, node: usize) -> anyhow::Result<(String, String)> {
    let report = cluster.kubectl_json(&["get", "mirrornode", &format!("node{node}")])?;
    let conditions = report["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Ok((format!("{}/{}", text("status"), text("reason")), text("message")))
}

/// Waits until a node says this, and gives the message.
fn await_ready(cluster: &Cluster, node: usize, wanted: &str, within: Duration) -> String {
    let (started, mut last) = (Instant::now(), Default::default());
    let met = cluster.wait_until(within, &format!("{wanted} of node{node}"), || {
        last = ready(cluster, node)?;
        Ok(last.0 == wanted)
    });
    met.unwrap_or_else(|error| panic!("node{node} says {last:?}\n{error:#}\n{}", cluster.diagnose()));
    println!("node{node}: {wanted} after {:.1} s: {}", started.elapsed().as_secs_f32(), last.1);
    last.1
}

/// `node` is one of three of the five that use the mirror; its agent is well, and it has no member.
pub(crate) fn a_report_does_not_outlive_its_agent(cluster: &Cluster, node: usize, app: &str) {
    let daemon_set = "daemonset/tidepool-agent";
    cluster.kubectl(&["set", "image", daemon_set, "-n", AGENTS, "agent=docker.io/library/none:1"]).unwrap();
    let on = format!("--field-selector=spec.nodeName=node{node}");
    cluster.kubectl(&["delete", "pods", "-n", AGENTS, &on, "--timeout=180s"]).unwrap();

    let why = await_ready(cluster, node, "Unknown/AgentNotReady", SAID);
    assert!(why.contains("cannot be pulled: mend image.repository") && why.contains("library/none:1"), "{why}");
    let table = cluster.kubectl(&["get", "mirrornodes"]).unwrap();
    println!("{table}");
    let row = table.lines().find(|line| line.starts_with(&format!("node{node}"))).unwrap();
    let row: Vec<_> = row.split_whitespace().collect();
    assert_eq!((row[1], row[row.len() - 2]), ("Unknown", "AgentNotReady"));
    let summary = || cluster.kubectl(&["get", "registrymirror", MIRROR, "-o", "jsonpath={.status.nodes.summary}"]);
    let await_summary =
        |wanted: &str| cluster.wait_until(SAID, "nodes in the mirror's status", || Ok(summary()? == wanted)).unwrap();
    await_summary("2/5");
    pull(cluster, node, app);

    cluster.kubectl(&["rollout", "undo", daemon_set, "-n", AGENTS]).unwrap();
    await_ready(cluster, node, "True/Configured", SAID);
    cluster.kubectl(&["rollout", "status", daemon_set, "-n", AGENTS, "--timeout=180s"]).unwrap();
    await_summary("3/5");
}

/// The first of these nodes that has no member of the mirror.
pub(crate) fn one_without_a_member(cluster: &Cluster, nodes: [usize; 2]) -> usize {
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let path = "jsonpath={.items[*].spec.nodeName}";
    let taken = cluster.kubectl(&["get", "pods", "-n", SYSTEM, "-l", &label, "-o", path]).unwrap();
    let free = |node: &usize| taken.split_whitespace().all(|taken| taken != format!("node{node}"));
    nodes.into_iter().find(free).unwrap_or_else(|| panic!("members are on {taken}"))
}
