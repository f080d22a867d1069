//! A thousand nodes (design N8): what agents and operator write, and what agents watch, as the audit log has it.
//!
//! Nodes are kwok's, but one that is real, and so are the pods that their DaemonSet makes for them, which are ready and run
//! nothing. For each of them the agent's own watches and reporter run in this process, with a token of their own, so that
//! the API server sees a thousand agents and judges them as such.

#[path = "scale/fleet.rs"]
mod fleet;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidepool_tests::{AuditEvent, Cluster, until};

use crate::installed::{MIRROR, SYSTEM, cluster, ephemeral, install_with};
use crate::quiet::await_quiet;
use fleet::Fleet;

/// How many nodes are simulated: 1,000, or `$TIDEPOOL_NODES` for a look.
fn nodes() -> usize {
    std::env::var("TIDEPOOL_NODES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

/// Agents look at their MirrorNode this often here, and the operator at everything.
const REREAD: Duration = Duration::from_secs(40);
const RESYNC: &str = "operator.resync=30s";
/// How long nothing may be written: a reread of each agent and two of most, three looks of the operator.
const QUIET: Duration = Duration::from_secs(95);
/// Between two looks at a thousand objects.
const LOOK: Duration = Duration::from_secs(3);
/// Writes a second of all agents together.
const BUDGET: usize = 85;
/// What nodes say of the mirror, and of themselves.
const STATE: &str = ".items[*].status.mirrors[*].state";
const REASON: &str = r#".items[*].status.conditions[?(@.type=="Ready")].reason"#;
/// How long all nodes may take to say the same: the reports alone are spread over 25 s.
const SAID: Duration = Duration::from_secs(400);

#[test]
fn n8_a_thousand_nodes_write_nothing_while_idle_and_keep_to_the_budget_in_a_rollout() {
    let Some(cluster) = cluster(1) else { return };
    install_with(&cluster, &["--set", RESYNC]);
    let fleet = a_thousand_agents(&cluster);

    let rollout = step(&cluster, "rollout: from a new mirror to all nodes active", || {
        cluster.apply(&ephemeral().to_string())?;
        all_say(&cluster, "Active", STATE)
    });
    agents_keep_to_the_budget(&rollout);
    let mut withdrawn = ephemeral();
    withdrawn["spec"]["nodes"] = serde_json::json!({"mode": "ReportOnly"});
    let change = step(&cluster, "change: from ReportOnly to all nodes withdrawn", || {
        cluster.apply(&withdrawn.to_string())?;
        all_say(&cluster, "Withdrawn", STATE)
    });
    agents_keep_to_the_budget(&change);
    the_mirror_is_written_seldom(&change);

    // The last counts.
    await_quiet(&cluster);
    let idle = step(&cluster, "idle", || {
        std::thread::sleep(QUIET);
        Ok(())
    });
    let read = idle.iter().filter(|event| event.verb == "get" && event.resource == "mirrornodes").count();
    assert!(read > nodes(), "{read} reads: agents do look at their MirrorNodes");
    let written: Vec<_> = idle.iter().filter(|event| event.is_write() && !event.is_lease()).collect();
    assert!(written.is_empty(), "written while idle: {written:#?}");
    agents_watch_what_they_may(&cluster);
    println!("operator: {}", memory(&cluster));
    fleet.stop();
}

/// Simulated nodes, each with a MirrorNode, and their agents, which have said that there is no mirror.
fn a_thousand_agents(cluster: &Cluster) -> Fleet {
    let mut fleet = None;
    step(cluster, "nodes and their agents", || {
        cluster.simulate_nodes(nodes())?;
        fleet = Some(Fleet::start(cluster, nodes(), REREAD)?);
        all_say(cluster, "NoMirror", REASON)
    });
    fleet.expect("agents")
}

/// Runs a step and prints what was written in it; what our accounts asked.
fn step(cluster: &Cluster, what: &str, act: impl FnOnce() -> anyhow::Result<()>) -> Vec<AuditEvent> {
    let started = Instant::now();
    let ((), events) = cluster.audit_during(act).unwrap();
    let events: Vec<_> = events.into_iter().filter(AuditEvent::is_ours).collect();
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|event| event.is_write() && !event.is_lease()) {
        let who = event.user.rsplit(':').next().unwrap_or_default();
        let what = format!("{who} {} {}/{} {}", event.verb, event.resource, event.subresource, event.code);
        *counts.entry(what).or_insert(0) += 1;
    }
    println!("{what}: {:.0} s; {counts:?}", started.elapsed().as_secs_f32());
    events
}

/// Waits until every node says this word, and no other, in that part of its MirrorNode.
fn all_say(cluster: &Cluster, word: &str, part: &str) -> anyhow::Result<()> {
    let mut said = BTreeMap::new();
    let path = format!("jsonpath={{{part}}}");
    let all = until(SAID, LOOK, "word of every node", || {
        let words = cluster.kubectl(&["get", "mirrornodes", "-o", &path])?;
        said.clear();
        words.split_whitespace().for_each(|word| *said.entry(word.to_owned()).or_insert(0) += 1);
        Ok(said.get(word) == Some(&(nodes() + 1)))
    });
    all.map_err(|error| error.context(format!("{word} is wanted of all: {said:?}")))
}

fn second(event: &AuditEvent) -> i64 {
    event.time.parse::<jiff::Timestamp>().unwrap().as_second()
}

fn agents_keep_to_the_budget(events: &[AuditEvent]) {
    let mut by_node: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.is_write() && event.user.ends_with(":tidepool-agent")) {
        assert!(event.resource == "mirrornodes" && [200, 409].contains(&event.code), "{event:?}");
        // On the one real node the operator speaks of its probe meanwhile: the agent reads that, and writes again.
        assert!(event.code == 200 || event.name == "node1", "{event:?}");
        by_node.entry(&event.name).or_default().push(second(event));
    }
    let mut times: Vec<i64> = by_node.values().flatten().copied().collect();
    times.sort_unstable();
    let busiest = times.iter().map(|from| times.iter().filter(|at| (*from..from + 10).contains(*at)).count());
    let busiest = busiest.max().unwrap_or_default();
    println!(
        "  {} reports of {} nodes, {:.1} a second in the busiest ten seconds",
        times.len(),
        by_node.len(),
        busiest as f32 / 10.0
    );
    assert!(busiest <= 10 * BUDGET, "{busiest} writes in ten seconds");
    assert_eq!(by_node.len(), nodes() + 1, "every node has something to say");
    let of_the_real_node = by_node["node1"].len();
    let simulated = times.len() - of_the_real_node;
    assert!(
        simulated <= 2 * nodes() && of_the_real_node <= 5,
        "{simulated} and {of_the_real_node} writes: pending and active, no more"
    );
    for (node, times) in by_node.iter().filter(|(name, _)| name.starts_with("simulated")) {
        // 6 ms for each node; times are in whole seconds.
        let near = times.windows(2).find(|pair| (pair[1] - pair[0] + 1) * 1000 < 6 * nodes() as i64);
        assert!(near.is_none(), "{node} reported twice within seconds: {times:?}");
    }
}

/// Once for the change of its spec; once for the first that reported; and while the others do each 30 ms for each of them,
/// twice a minute at most.
fn the_mirror_is_written_seldom(events: &[AuditEvent]) {
    let of_mirror = |event: &&AuditEvent| event.resource == "registrymirrors" && event.subresource == "status";
    let times: Vec<i64> = events.iter().filter(of_mirror).filter(|event| event.is_write()).map(second).collect();
    println!("  the mirror's status was written {} times", times.len());
    let seconds = times.last().unwrap_or(&0) - times.first().unwrap_or(&0);
    let between = (nodes() as i64 * 30).clamp(2000, 30_000);
    let allowed = 3 + seconds * 1000 / between;
    assert!(!times.is_empty() && times.len() as i64 <= allowed, "{} times in {seconds} s", times.len());
}

/// A document and a Secret by name, EndpointSlices of the mirrors' namespace, the own Node: nothing that thousands write.
fn agents_watch_what_they_may(cluster: &Cluster) {
    let events = cluster.audit().unwrap();
    let agents = || events.iter().filter(|event| event.user.ends_with(":tidepool-agent"));
    let watched = |event: &&AuditEvent| ["watch", "list"].contains(&event.verb.as_str());
    let mut resources = BTreeMap::new();
    for event in agents().filter(watched) {
        let name = if event.resource == "nodes" { "its own" } else { &event.name };
        *resources.entry((event.resource.as_str(), event.namespace.as_str(), name)).or_insert(0) += 1;
        assert!(event.resource != "nodes" || !event.name.is_empty(), "{event:?} watches all nodes");
    }
    let found: Vec<_> = resources.keys().copied().collect();
    let allowed = [
        ("configmaps", "tidepool-agents", "tidepool-nodes"),
        ("endpointslices", SYSTEM, ""),
        ("nodes", "", "its own"),
        ("secrets", "tidepool-agents", "tidepool-agent-identity"),
    ];
    assert_eq!(found, allowed, "{resources:#?}");
    let ours = |event: &&AuditEvent| event.group == "tidepool.dev" || event.resource == "pods";
    let other = agents().filter(ours).find(|event| event.resource != "mirrornodes" || event.name.is_empty());
    assert!(other.is_none(), "{other:?}");
    println!("agents of {MIRROR} watch {found:?}");
}

/// Peak and present memory of the operators, of which one leads.
fn memory(cluster: &Cluster) -> String {
    let script = r#"for process in /proc/[0-9]*; do
        case $(tr '\0' ' ' <$process/cmdline 2>/dev/null) in /tidepool-operator*) grep -E 'VmHWM|VmRSS' $process/status;; esac
        done"#;
    let found = cluster.in_node(1, &["sh", "-c", script]).unwrap();
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}
