//! Whether a node's runtime uses the mirror, and if not why (design N5, F6), on nodes with different configurations; and
//! an agent that starts before it is told anything (F17).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidepool_tests::{Cluster, ClusterOptions, Containerd, ImageSpec, NodeOptions};

use crate::absence::{a_report_does_not_outlive_its_agent, one_without_a_member};
use crate::installed::{
    AGENTS, MIRROR, SYSTEM, apply_and_await, archives, asked_by_pull, await_condition, ephemeral, helm, hosts_toml,
    install_with, of_this_machine, pull,
};

/// How long a node may take to say why on a slow machine, on which a report waits for up to half a minute as on any.
const WHY: Duration = Duration::from_secs(180);
/// The same of a node that was probed just before.
const AGAIN: Duration = Duration::from_secs(300);
const APP: &str = "docker.io/library/app:1";

/// Nodes by number: ordinary, 1.7, one with what containerd 2.4 does of itself, a list of directories, 1.7 without any.
/// What 3 and 4 do nobody but the probe tells: their transfer service takes a list for one directory.
fn nodes() -> BTreeMap<usize, NodeOptions> {
    let registry = |text: &str| Some(text.to_owned());
    let list = "[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/etc/containerd/certs.d:/etc/docker/certs.d\"\n";
    [
        (2, NodeOptions { containerd: Containerd::V1_7, ..NodeOptions::default() }),
        (3, NodeOptions { registry_config: registry(""), ..NodeOptions::default() }),
        (4, NodeOptions { registry_config: registry(list), ..NodeOptions::default() }),
        (5, NodeOptions { containerd: Containerd::V1_7, registry_config: registry(""), ..NodeOptions::default() }),
    ]
    .into()
}

fn cluster_of(nodes: usize, node_options: BTreeMap<usize, NodeOptions>) -> Option<Cluster> {
    let options = ClusterOptions { nodes, node_options, archives: archives(), ..ClusterOptions::default() };
    of_this_machine(Cluster::for_suite(options).expect("a cluster")?)
}

/// Condition `Honored` of a node: `status/reason` and the message; empty where there is none.
fn honored(cluster: &Cluster, node: usize) -> anyhow::Result<(String, String)> {
    let report = cluster.kubectl_json(&["get", "mirrornode", &format!("node{node}")])?;
    let conditions = report["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let Some(found) = conditions.into_iter().find(|condition| condition["type"] == "Honored") else {
        return Ok(Default::default());
    };
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Ok((format!("{}/{}", text("status"), text("reason")), text("message")))
}

/// Waits until a node says this, and gives the message.
fn await_honored(cluster: &Cluster, node: usize, wanted: &str, within: Duration) -> String {
    let started = Instant::now();
    let mut last = (String::new(), String::new());
    let met = cluster.wait_until(within, &format!("{wanted} of node{node}"), || {
        last = honored(cluster, node)?;
        Ok(last.0 == wanted)
    });
    met.unwrap_or_else(|error| panic!("node{node} says {last:?}\n{error:#}"));
    println!("node{node}: {wanted} after {:.1} s: {}", started.elapsed().as_secs_f32(), last.1);
    last.1
}

fn probe_pods(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.kubectl(&["get", "pods", "-n", SYSTEM, "-l", "tidepool.dev/probe", "-o", "name"])
}

/// How often the operator made a probe pod.
fn probes_made(cluster: &Cluster) -> usize {
    let made =
        |event: &&tidepool_tests::AuditEvent| event.is_ours() && event.verb == "create" && event.resource == "pods";
    cluster.audit().unwrap().iter().filter(made).count()
}

#[test]
fn n5_every_node_says_whether_it_uses_the_mirror_and_if_not_why_and_what_to_do() {
    let Some(cluster) = cluster_of(5, nodes()) else { return };
    install_with(&cluster, &["--set", "operator.probesAtOnce=0"]);
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1").layers(&[1])).unwrap();
    cluster.apply(&ephemeral().to_string()).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
    a_pull_proves_it_and_without_probes_nobody_guesses(&cluster);
    by_probe_pods(&cluster);
    a_configuration_that_changes_is_judged_anew(&cluster);
    mended_and_started_anew_the_node_uses_the_mirror(&cluster);
    a_report_does_not_outlive_its_agent(&cluster, one_without_a_member(&cluster, [1, 2]), APP);
    one_command_takes_every_node_out(&cluster);
}

fn a_pull_proves_it_and_without_probes_nobody_guesses(cluster: &Cluster) {
    let placed = || Ok((1..=5).all(|node| hosts_toml(cluster, node, "docker.io").is_some()));
    cluster.wait_until(WHY, "files on all nodes", placed).unwrap();
    pull(cluster, 1, APP);
    await_honored(cluster, 1, "True/PullSeen", WHY);
    // What the configuration proves needs no probe.
    let why = await_honored(cluster, 5, "False/RuntimeNotConfigured", WHY);
    assert!(why.contains("/etc/containerd/config.toml") && why.contains("config_path = \"/etc/containerd/certs.d\""));
    // The latter where the agent came before the mirror, and said that there was none.
    let said = honored(cluster, 2).unwrap().0;
    assert!(["", "Unknown/Unproven"].contains(&said.as_str()), "{said}");
    assert_eq!(probes_made(cluster), 0);
}

fn by_probe_pods(cluster: &Cluster) {
    helm(cluster, "upgrade", &["--reset-then-reuse-values", "--set", "operator.probesAtOnce=5"]);
    await_honored(cluster, 2, "True/ProbeSeen", WHY);
    let why = await_honored(cluster, 3, "False/NotHonored", WHY);
    assert!(
        why.contains("sets no config_path") && why.contains("[plugins.\"io.containerd.cri.v1.images\".registry]"),
        "{why}"
    );
    let why = await_honored(cluster, 4, "False/NotHonored", WHY);
    assert!(why.contains("/etc/containerd/certs.d:/etc/docker/certs.d") && why.contains("alone"), "{why}");
    // It is as the nodes say: their pulls go past the mirror, and those of the others do not.
    for (node, past) in [(2, false), (3, true), (4, true), (5, true)] {
        let asked = asked_by_pull(cluster, "docker.io", node, APP);
        let blobs = asked.iter().filter(|request| request.is_blob() && request.served()).count();
        assert_eq!(blobs > 0, past, "node{node}: {asked:#?}");
    }
    cluster.wait_until(WHY, "end of the probe pods", || Ok(probe_pods(cluster)?.is_empty())).unwrap();
    assert_eq!(probes_made(cluster), 3, "one each for the nodes that nobody knew of");
    let summary = || cluster.kubectl(&["get", "registrymirror", MIRROR, "-o", "jsonpath={.status.nodes.summary}"]);
    cluster.wait_until(WHY, "two nodes of five in the mirror's status", || Ok(summary()? == "2/5")).unwrap();
    let why = await_condition(cluster, "NodesConfigured", "False", "Unsupported");
    assert!(why.contains("3 of 5 nodes"), "{why}");
    let table = cluster.kubectl(&["get", "mirrornodes"]).unwrap();
    println!("{table}");
    let row =
        |node: &str| table.lines().find(|line| line.starts_with(node)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row("node2")[1..5], ["True", "True", "containerd", row("node2")[4]]);
    assert_eq!(row("node4")[2..6], ["False", "containerd", row("node4")[4], "NotHonored"]);
    let mounts =
        cluster.kubectl(&["get", "pods", "-A", "-o", "jsonpath={.items[*].spec.volumes[*].hostPath.path}"]).unwrap();
    assert!(!mounts.contains(".sock") && !mounts.split(' ').any(|path| path.starts_with("/run")), "{mounts}");
}

/// Replaces a file at once, for the agent may look at any moment.
fn replace(file: &Path, text: &str) {
    let aside = file.with_extension("new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, file).unwrap();
}

/// The condition changes hands on a real API server: agent, agent, agent, operator, agent.
fn a_configuration_that_changes_is_judged_anew(cluster: &Cluster) {
    let file = cluster.certs_d(2).unwrap().with_file_name("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let other = text.replace("\"/etc/containerd/certs.d\"", "\"/etc/other\"");
    assert_ne!(text, other);
    replace(&file, &other);
    let why = await_honored(cluster, 2, "False/RuntimeNotConfigured", WHY);
    assert!(why.contains("/etc/other") && why.contains("agent.registryDir"), "{why}");
    replace(&file, &text);
    // Its containerd went on with what it had.
    await_honored(cluster, 2, "True/ProbeSeen", AGAIN);
    assert_eq!(probes_made(cluster), 4);
}

fn mended_and_started_anew_the_node_uses_the_mirror(cluster: &Cluster) {
    let file = cluster.certs_d(4).unwrap().with_file_name("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    // As most instructions have it: 2.3 and later take the table of version 2 in a file of version 3, too.
    let table = text.replace("cri.v1.images\".registry", "grpc.v1.cri\".registry");
    assert_ne!(table, text);
    replace(&file, &table.replace("certs.d:/etc/docker/certs.d", "certs.d"));
    cluster.reboot(4).unwrap();
    let message = await_honored(cluster, 4, "True/ProbeSeen", AGAIN);
    assert!(message.contains("came through"), "{message}");
}

fn one_command_takes_every_node_out(cluster: &Cluster) {
    cluster.kubectl(&["label", "nodes", "--all", "tidepool.dev/exclude=true"]).unwrap();
    let empty = |node: usize| Ok::<_, anyhow::Error>(fs::read_dir(cluster.certs_d(node)?)?.next().is_none());
    let all = || (1..=5).try_fold(true, |so_far, node| Ok(so_far && empty(node)?));
    cluster.wait_until(WHY, "no file on any node", all).unwrap();
    let why = await_honored(cluster, 1, "Unknown/NodeExcluded", WHY);
    assert!(why.contains("tidepool.dev/exclude=true"), "{why}");
    let asked = asked_by_pull(cluster, "docker.io", 2, APP);
    assert!(!asked.is_empty(), "the pull goes to the registry itself");
}

/// An agent that starts while there is no API server: with what it last knew, and with nothing.
#[test]
fn n5_an_agent_that_is_told_nothing_is_in_nobodys_way_and_one_command_disables_it() {
    let Some(cluster) = cluster_of(1, BTreeMap::new()) else { return };
    install_with(&cluster, &[]);
    let image = ImageSpec::new("library/app", "1").layers(&[1]);
    cluster.registry("docker.io").unwrap().push(&image).unwrap();
    apply_and_await(&cluster, &ephemeral());
    await_honored(&cluster, 1, "True/ProbeSeen", WHY);
    pull(&cluster, 1, APP);
    let state = cluster.var_lib_tidepool(1).unwrap().join("last.json");
    for knows in [true, false] {
        let told = cluster.without_api_server(|| {
            if !knows {
                fs::remove_file(&state).unwrap();
            }
            kill_agent(&cluster);
            cluster.remove_image(1, APP).unwrap();
            asked_by_pull(&cluster, "docker.io", 1, APP)
        });
        let asked = told.unwrap();
        let blobs = asked.iter().filter(|request| request.is_blob() && request.served()).count();
        // With nothing known the listener says so, and the runtime goes on upstream at once.
        assert_eq!(blobs == 0, knows, "{asked:#?}");
        assert!(hosts_toml(&cluster, 1, "docker.io").is_some(), "what is there stays");
    }
    cluster
        .kubectl(&[
            "patch",
            "registrymirror",
            MIRROR,
            "--type=merge",
            "-p",
            r#"{"spec":{"nodes":{"mode":"Withdraw"}}}"#,
        ])
        .unwrap();
    let gone = || Ok(fs::read_dir(cluster.certs_d(1)?)?.next().is_none());
    cluster.wait_until(WHY, "no file on the node", gone).unwrap();
    pull(&cluster, 1, APP);
}

/// Kills the agent's processes on node 1 and waits until the next ones answer: the kubelet needs no API server for it.
fn kill_agent(cluster: &Cluster) {
    let container = || -> anyhow::Result<Value> {
        let find = ["crictl", "ps", "--quiet", "--state=running", "--name=^agent$", "--label"];
        let found = cluster.in_node(1, &[&find[..], &[&format!("io.kubernetes.pod.namespace={AGENTS}")]].concat())?;
        let inspected = cluster.in_node(1, &["crictl", "inspect", found.trim()])?;
        Ok(serde_json::from_str(&inspected)?)
    };
    let before = container().unwrap();
    cluster.in_node(1, &["kill", "-9", &before["info"]["pid"].to_string()]).unwrap();
    let another = || {
        let now = container().is_ok_and(|now| now["status"]["id"] != before["status"]["id"]);
        let ping = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:909/v2/"];
        Ok(now && cluster.try_in_node(1, &ping)?.stdout == "200")
    };
    cluster.wait_until(WHY, "the next agent's listener", another).unwrap();
}
