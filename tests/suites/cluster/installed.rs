//! A cluster with Tidepool in it, and what the tests ask of it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ClusterOptions, Request, repository};

/// Namespace of operator and members.
pub(crate) const SYSTEM: &str = "tidepool-system";
/// The mirror of the tests.
pub(crate) const MIRROR: &str = "reef";
/// Where agents listen, as files on nodes name it.
pub(crate) const LISTENER: &str = "http://127.0.0.1:909";
/// How long a change may take to reach every node: an agent's watch, a file, a report with jitter.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// A cluster of this machine, or the one of `$KUBECONFIG`; `None` where there is neither.
pub(crate) fn any_cluster(nodes: usize) -> Option<Cluster> {
    let archive = std::env::var_os("IMAGE_ARCHIVE").map(PathBuf::from);
    let archives = archive.into_iter().filter(|file| file.is_file()).collect();
    let options = ClusterOptions { nodes, archives, ..ClusterOptions::default() };
    Cluster::for_suite(options).expect("a cluster")
}

/// A cluster of this machine with Docker Hub's and ghcr.io's stand-ins, or `None` where none can run.
pub(crate) fn cluster(nodes: usize) -> Option<Cluster> {
    let cluster = any_cluster(nodes)?;
    if !cluster.has_nodes() {
        println!("SKIPPED: needs nodes and registries of its own, and $KUBECONFIG names another cluster");
        return None;
    }
    Some(cluster)
}

/// A cluster with the chart installed and the stand-ins' authority in a ConfigMap.
pub(crate) fn installed(nodes: usize) -> Option<Cluster> {
    let cluster = cluster(nodes)?;
    install(&cluster);
    Some(cluster)
}

/// Installs the chart as the README does, and waits until operator and agents run.
pub(crate) fn install(cluster: &Cluster) {
    assert!(std::env::var_os("IMAGE_ARCHIVE").is_some(), "$IMAGE_ARCHIVE names no image: run `make image`");
    helm(cluster, "install", &["--create-namespace"]);
    let authority = cluster.authority().unwrap();
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "test-authority", "namespace": SYSTEM},
        "data": {"ca.crt": authority},
    });
    cluster.apply(&object.to_string()).unwrap();
}

/// Runs `helm install` or `helm upgrade` of the chart.
pub(crate) fn helm(cluster: &Cluster, act: &str, more: &[&str]) {
    let chart = repository().join("charts/tidepool");
    let base = [act, "tidepool", chart.to_str().unwrap(), "-n", SYSTEM, "--wait", "--timeout", "3m"];
    cluster.helm(&[&base, more].concat()).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
}

/// A RegistryMirror of both stand-ins with this storage.
pub(crate) fn mirror(storage: &Value) -> Value {
    let tls = json!({"caRef": {"kind": "ConfigMap", "name": "test-authority", "key": "ca.crt"}});
    json!({
        "apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror", "metadata": {"name": MIRROR},
        "spec": {
            "upstreams": [{"registry": "docker.io", "tls": tls}, {"registry": "ghcr.io", "tls": tls}],
            "storage": storage,
        },
    })
}

/// An ephemeral mirror, which is ready soonest.
pub(crate) fn ephemeral() -> Value {
    mirror(&json!({"type": "Ephemeral"}))
}

/// Applies a mirror and waits until it is ready and every node pulls through it.
pub(crate) fn apply_and_await(cluster: &Cluster, mirror: &Value) {
    cluster.apply(&mirror.to_string()).unwrap();
    let wait = ["wait", "--for=condition=Ready", "registrymirror", MIRROR, "--timeout=110s"];
    cluster.kubectl(&wait).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
    await_active(cluster);
}

/// Waits until every node says that it pulls through the mirror.
pub(crate) fn await_active(cluster: &Cluster) {
    let nodes = cluster.node_count().unwrap();
    let active = || {
        let list = cluster.kubectl_json(&["get", "mirrornodes"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let count = items.iter().filter(|node| node["status"]["mirrors"][0]["state"] == "Active").count();
        Ok(count == nodes)
    };
    cluster.wait_until(SOON, "node file on every node", active).unwrap();
}

/// Pulls by a node's containerd; a failure ends the test and tells why.
pub(crate) fn pull(cluster: &Cluster, node: usize, image: &str) {
    let pulled = cluster.pull(node, image);
    pulled.unwrap_or_else(|error| panic!("pull of {image} on node{node}: {error:#}\n{}", cluster.diagnose()));
}

/// What a pull by a node's containerd makes anybody ask of a registry.
pub(crate) fn asked_by_pull(cluster: &Cluster, registry: &str, node: usize, image: &str) -> Vec<Request> {
    let pulled = || {
        pull(cluster, node, image);
        Ok(())
    };
    cluster.registry(registry).unwrap().requests_during(pulled).unwrap().1
}

/// The text of a node's mirror file for a registry, or `None` where there is none.
pub(crate) fn hosts_toml(cluster: &Cluster, node: usize, registry: &str) -> Option<String> {
    std::fs::read_to_string(cluster.certs_d(node).unwrap().join(registry).join("hosts.toml")).ok()
}

/// A condition of the mirror, as `status`, `reason` and `message`.
pub(crate) fn condition(cluster: &Cluster, kind: &str) -> anyhow::Result<(String, String, String)> {
    let mirror = cluster.kubectl_json(&["get", "registrymirror", MIRROR])?;
    let conditions = mirror["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("reason"), text("message")))
}
