//! Nodes that are no ordinary ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidepool_tests::{Cluster, ClusterOptions, Containerd, ImageSpec, NodeOptions, Rate};

/// A node's runtime as the API server knows it.
fn runtime(cluster: &Cluster, node: &str) -> String {
    let version = "jsonpath={.status.nodeInfo.containerRuntimeVersion}";
    cluster.kubectl(&["get", "node", node, "-o", version]).unwrap()
}

#[test]
fn a_node_has_the_runtime_the_configuration_and_the_link_that_were_asked_for() {
    let rate = Rate::mib_per_second(8);
    let older = NodeOptions { containerd: Containerd::V1_7, rate: Some(rate), ..NodeOptions::default() };
    let table = "[plugins.\"io.containerd.cri.v1.images\".registry]\n  config_path = \"/etc/elsewhere\"\n";
    let other = NodeOptions { registry_config: Some(table.to_owned()), ..NodeOptions::default() };
    let node_options = BTreeMap::from([(1, older), (2, other)]);
    let options = ClusterOptions { node_options, ..ClusterOptions::default() };
    let Some(cluster) = Cluster::for_suite(options).unwrap().filter(Cluster::has_nodes) else { return };
    assert!(runtime(&cluster, "node1").starts_with("containerd://1.7."), "{}", runtime(&cluster, "node1"));
    assert!(runtime(&cluster, "node2").starts_with("containerd://2."), "{}", runtime(&cluster, "node2"));

    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/slow", "1").layers(&[24])).unwrap();
    let started = Instant::now();
    cluster.run_pod("slow", 1, "slow:1", Duration::from_secs(180)).unwrap();
    assert!(started.elapsed() > Duration::from_millis(2500), "24 MiB at 8 MiB/s in {:?}", started.elapsed());

    // What a mirror file says there is read, and so the only registry of that node is one that nobody runs.
    let file = "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:1\"]\n";
    let folder = "/etc/elsewhere/docker.io";
    cluster.in_node(2, &["mkdir", "-p", folder]).unwrap();
    cluster.in_node(2, &["sh", "-c", &format!("printf '%s' '{file}' > {folder}/hosts.toml")]).unwrap();
    let refused = cluster.try_pull(2, "slow:1").unwrap();
    assert!(!refused.success && refused.stderr.contains("127.0.0.1:1"), "{refused:?}");
}
