//! Agents that follow one another, and agents whose processes are killed or stopped, under a loop of pulls.

use std::time::{Duration, Instant};

use tidepool_tests::{Cluster, ClusterOptions, Containerd, ImageSpec, NodeOptions};

use crate::installed::{AGENTS, SOON, apply_and_await, ephemeral, helm, installed_by, pull};
use crate::node_state::await_used;
use crate::pull_loop::{PullLoop, while_pulling};

const APP: &str = "docker.io/library/app:1";
/// How long the supervisor may take to replace a forwarder: a second of silence, its own turn, and a busy machine. That
/// it was not the kubelet, which ends both, shows by the supervisor, which stays.
const SUPERVISED: Duration = Duration::from_secs(20);
/// How long the liveness probe may take when the supervisor is stopped too: docs/nodes.md promises 20 s, to which the
/// kubelet and the runtime add their own.
const PROBED: Duration = Duration::from_secs(60);

/// The processes of the node's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Processes {
    supervisor: String,
    forwarder: String,
}

/// The agent's processes, once both run, beside none of another agent.
fn processes(cluster: &Cluster) -> anyhow::Result<Option<Processes>> {
    let found = cluster.in_node(1, &["crictl", "ps", "--quiet", "--state=running", "--name=^agent$"])?;
    let [container] = found.split_whitespace().collect::<Vec<_>>()[..] else { return Ok(None) };
    let inspect = ["crictl", "inspect", "-o", "go-template", "--template", "{{.info.pid}}", container];
    let supervisor = cluster.in_node(1, &inspect)?.trim().to_owned();
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    // It may have ended since.
    let children = cluster.try_in_node(1, &["cat", &children])?.stdout;
    let forwarder = children.trim().to_owned();
    Ok((!forwarder.is_empty() && !forwarder.contains(' ')).then_some(Processes { supervisor, forwarder }))
}

fn running(cluster: &Cluster) -> Processes {
    let mut found = None;
    let both = || {
        found = processes(cluster)?;
        Ok(found.is_some())
    };
    cluster.wait_until(PROBED, "supervisor and forwarder of one agent", both).unwrap();
    found.unwrap()
}

fn signal(cluster: &Cluster, signal: &str, processes: &[&str]) {
    cluster.in_node(1, &[&["kill", "-s", signal], processes].concat()).unwrap();
}

/// Waits until other processes run in the place of these; how long that took.
fn await_others(cluster: &Cluster, is_other: impl Fn(&Processes) -> bool, within: Duration) -> Duration {
    let started = Instant::now();
    loop {
        if processes(cluster).unwrap().is_some_and(|now| is_other(&now)) {
            return started.elapsed();
        }
        assert!(started.elapsed() < within, "not replaced within {within:?}\n{}", cluster.diagnose());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How often the kubelet has started the container again.
fn restarts(cluster: &Cluster) -> u64 {
    let pods = cluster.kubectl_json(&["get", "pods", "-n", AGENTS]).unwrap();
    pods["items"][0]["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap()
}

#[test]
fn n6_no_pull_fails_while_agents_follow_one_another_or_are_killed_or_stopped() {
    no_pull_fails(Containerd::V2_4);
}

#[test]
fn n6_no_pull_of_containerd_1_7_fails_while_agents_follow_one_another_or_are_killed_or_stopped() {
    no_pull_fails(Containerd::V1_7);
}

fn no_pull_fails(containerd: Containerd) {
    let node_options = [(1, NodeOptions { containerd, ..NodeOptions::default() })].into();
    let options = ClusterOptions { nodes: 1, node_options, ..ClusterOptions::default() };
    let Some(cluster) = installed_by(options) else { return };
    apply_and_await(&cluster, &ephemeral());
    // Large enough that most of the time a body is under way.
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1").layers(&[96, 48])).unwrap();
    pull(&cluster, 1, APP);
    cluster.remove_image(1, APP).unwrap();

    let ((), seen) = while_pulling(&cluster, 1, APP, |pulls| {
        await_used(&cluster, pulls);
        followed(&cluster, pulls, "agent restarted", || {
            cluster.kubectl(&["rollout", "restart", "daemonset/tidepool-agent", "-n", AGENTS]).unwrap();
        });
        followed(&cluster, pulls, "agent upgraded", || helm(&cluster, "upgrade", &["--set", "log.level=debug"]));
        forwarder_killed(&cluster, pulls);
        forwarder_stopped(&cluster, pulls);
        assert_eq!(restarts(&cluster), 0, "that was the supervisor's work");
        both_stopped(&cluster, pulls);
        let told = || Ok(restarts(&cluster) > 0);
        cluster.wait_until(SOON, "word of the kubelet that it started the container again", told).unwrap();
        assert_eq!(restarts(&cluster), 1, "that was the kubelet's");
    });
    println!("{} pulls, the longest {:.1?}", seen.pulls, seen.longest);
}

/// One agent follows another, and nothing goes past the mirror meanwhile.
fn followed(cluster: &Cluster, pulls: &PullLoop<'_>, what: &str, act: impl FnOnce()) {
    let before = running(cluster);
    let files = ["stat", "-c", "%n %i", "/etc/containerd/certs.d/docker.io/hosts.toml"];
    let theirs = cluster.in_node(1, &files).unwrap();
    let upstream = cluster.registry("docker.io").unwrap();
    let step = || {
        pulls.step(what, || {
            act();
            let status = ["rollout", "status", "daemonset/tidepool-agent", "-n", AGENTS, "--timeout=180s"];
            cluster.kubectl(&status).unwrap();
            await_others(cluster, |now| now.supervisor != before.supervisor, SOON);
        });
        Ok(())
    };
    let ((), log) = upstream.requests_during(step).unwrap();
    let past: Vec<_> = log.iter().filter(|request| !request.user_agent.starts_with("tidepool")).collect();
    assert!(past.is_empty(), "{what}: asked past the mirror: {past:#?}");
    await_used(cluster, pulls);
    assert_eq!(cluster.in_node(1, &files).unwrap(), theirs, "{what}: a file was written anew");
}

fn forwarder_killed(cluster: &Cluster, pulls: &PullLoop<'_>) {
    for turn in 1..=3 {
        let before = running(cluster);
        pulls.step(&format!("forwarder killed, {turn}"), || {
            signal(cluster, "KILL", &[&before.forwarder]);
            let took = await_others(cluster, |now| now.forwarder != before.forwarder, SUPERVISED);
            println!("another forwarder after {took:.1?}");
            assert_eq!(running(cluster).supervisor, before.supervisor);
        });
    }
    await_used(cluster, pulls);
}

fn forwarder_stopped(cluster: &Cluster, pulls: &PullLoop<'_>) {
    let before = running(cluster);
    pulls.step("forwarder stopped", || {
        signal(cluster, "STOP", &[&before.forwarder]);
        let took = await_others(cluster, |now| now.forwarder != before.forwarder, SUPERVISED);
        println!("another forwarder after {took:.1?}");
        assert_eq!(running(cluster).supervisor, before.supervisor);
    });
    await_used(cluster, pulls);
}

/// Nobody is left in the pod to see it: pulls wait for the liveness probe.
fn both_stopped(cluster: &Cluster, pulls: &PullLoop<'_>) {
    let before = running(cluster);
    let memory = format!("grep -E '^(VmRSS|RssAnon)' /proc/{}/status | tr -s '\\t\\n' ' '", before.supervisor);
    println!("supervisor: {}", cluster.in_node(1, &["sh", "-c", &memory]).unwrap());
    pulls.slow_step("supervisor and forwarder stopped", PROBED, || {
        signal(cluster, "STOP", &[&before.supervisor, &before.forwarder]);
        let took = await_others(cluster, |now| now.supervisor != before.supervisor, PROBED);
        println!("another agent after {took:.1?}, which is what a pull may have waited");
    });
    await_used(cluster, pulls);
}
