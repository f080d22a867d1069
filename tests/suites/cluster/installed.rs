//! A cluster with Tidepool in it, and what the tests ask of it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ClusterOptions, Egress, Request, StandIn, repository};

/// The label of the level that pods of a namespace must keep.
const LEVEL: &str = "pod-security.kubernetes.io/enforce";
/// Namespace of the agents.
pub(crate) const AGENTS: &str = "tidepool-agents";
/// Namespace of operator and members.
pub(crate) const SYSTEM: &str = "tidepool-system";
/// The mirror of the tests.
pub(crate) const MIRROR: &str = "reef";
/// Where agents listen, as files on nodes name it.
pub(crate) const LISTENER: &str = "http://127.0.0.1:909";
/// How long a change may take to reach every node: an agent's watch, a file, a report with jitter, some seconds in all; and
/// all of it on a slow machine that has other things to do. Less than the time between two looks at everything.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// A cluster of this machine, or the one of `$KUBECONFIG`; `None` where there is neither.
pub(crate) fn any_cluster(nodes: usize) -> Option<Cluster> {
    Cluster::for_suite(ClusterOptions { nodes, archives: archives(), ..ClusterOptions::default() }).expect("a cluster")
}

/// The image of the product, for every node.
pub(crate) fn archives() -> Vec<PathBuf> {
    let archive = std::env::var_os("IMAGE_ARCHIVE").map(PathBuf::from);
    archive.into_iter().filter(|file| file.is_file()).collect()
}

/// A cluster of this machine with these stand-ins and the chart installed, or `None` where none can run.
pub(crate) fn installed_with(nodes: usize, stand_ins: Vec<StandIn>, egress: Option<Egress>) -> Option<Cluster> {
    installed_by(ClusterOptions { nodes, stand_ins, egress, ..ClusterOptions::default() })
}

/// A cluster of this machine of this kind and the chart installed, or `None` where none can run.
pub(crate) fn installed_by(options: ClusterOptions) -> Option<Cluster> {
    let options = ClusterOptions { archives: archives(), ..options };
    let cluster = of_this_machine(Cluster::for_suite(options).expect("a cluster")?)?;
    install(&cluster);
    Some(cluster)
}

/// A cluster of this machine with Docker Hub's and ghcr.io's stand-ins, or `None` where none can run.
pub(crate) fn cluster(nodes: usize) -> Option<Cluster> {
    of_this_machine(any_cluster(nodes)?)
}

/// The cluster, if its nodes and registries are within reach.
pub(crate) fn of_this_machine(cluster: Cluster) -> Option<Cluster> {
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
    install_with(cluster, &[]);
}

/// Installs the chart with these further arguments, in a namespace that takes restricted pods only.
pub(crate) fn install_with(cluster: &Cluster, more: &[&str]) {
    assert!(std::env::var_os("IMAGE_ARCHIVE").is_some(), "$IMAGE_ARCHIVE names no image: run `make image`");
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": {LEVEL: "restricted"}},
    });
    cluster.apply(&namespace.to_string()).unwrap();
    helm(cluster, "install", more);
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
    let base = [act, "tidepool", chart.to_str().unwrap(), "-n", SYSTEM, "--wait", "--timeout", "4m"];
    cluster.helm(&[&base, more].concat()).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
}

/// A RegistryMirror of both stand-ins with this storage.
pub(crate) fn mirror(storage: &Value) -> Value {
    let mut mirror = mirror_of(MIRROR, &["docker.io", "ghcr.io"]);
    mirror["spec"]["storage"] = storage.clone();
    mirror
}

/// An ephemeral RegistryMirror of these registries, which it knows by the stand-ins' authority.
pub(crate) fn mirror_of(name: &str, registries: &[&str]) -> Value {
    let tls = json!({"caRef": {"kind": "ConfigMap", "name": "test-authority", "key": "ca.crt"}});
    let upstreams: Vec<Value> = registries.iter().map(|name| json!({"registry": name, "tls": tls})).collect();
    json!({
        "apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror", "metadata": {"name": name},
        "spec": {"upstreams": upstreams, "storage": {"type": "Ephemeral"}},
    })
}

/// A Secret with a login, of type `kubernetes.io/basic-auth`.
pub(crate) fn login(name: &str, username: &str, password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": name, "namespace": SYSTEM},
        "stringData": {"username": username, "password": password},
    })
}

/// An ephemeral mirror, which is ready soonest.
pub(crate) fn ephemeral() -> Value {
    mirror(&json!({"type": "Ephemeral"}))
}

/// Applies a mirror and waits until it is ready and every node pulls through it.
pub(crate) fn apply_and_await(cluster: &Cluster, mirror: &Value) {
    cluster.apply(&mirror.to_string()).unwrap();
    let wait = ["wait", "--for=condition=Ready", "registrymirror", MIRROR, "--timeout=180s"];
    cluster.kubectl(&wait).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
    await_active(cluster);
}

/// Waits until every node says that it pulls through a mirror, and names none that is gone.
pub(crate) fn await_active(cluster: &Cluster) {
    let nodes = cluster.node_count().unwrap();
    let list = |what: &str| -> anyhow::Result<Vec<Value>> {
        Ok(cluster.kubectl_json(&["get", what])?["items"].as_array().cloned().unwrap_or_default())
    };
    let active = || {
        let there: Vec<_> = list("registrymirrors")?.iter().map(|mirror| mirror["metadata"]["uid"].clone()).collect();
        let items = list("mirrornodes")?;
        let active = |node: &Value| {
            let mirrors = node["status"]["mirrors"].as_array().cloned().unwrap_or_default();
            let is_active = |mirror: &Value| mirror["state"] == "Active" && there.contains(&mirror["uid"]);
            !mirrors.is_empty() && mirrors.iter().all(is_active)
        };
        let count = items.iter().filter(|node| active(node)).count();
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

/// Waits until a condition of the mirror has this status and reason, and gives its message.
pub(crate) fn await_condition(cluster: &Cluster, kind: &str, status: &str, reason: &str) -> String {
    let mut last = String::new();
    let met = || {
        let (is, why, message) = condition(cluster, kind)?;
        last = format!("{is}/{why}: {message}");
        Ok(is == status && (reason.is_empty() || why == reason))
    };
    let met = cluster.wait_until(SOON, &format!("{kind}={status}/{reason}"), met);
    met.unwrap_or_else(|error| panic!("{kind} is {last}\n{error:#}"));
    last.split_once(": ").map(|(_, message)| message.to_owned()).unwrap_or_default()
}

/// The pods of a mirror's members: name, address, uid and restarts, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) uid: String,
    pub(crate) restarts: u64,
}

/// The members of a mirror, sorted by name.
pub(crate) fn members(cluster: &Cluster, mirror: &str) -> Vec<Member> {
    let label = format!("tidepool.dev/mirror={mirror}");
    let pods = cluster.kubectl_json(&["get", "pods", "-n", SYSTEM, "-l", &label]).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let member = |pod: &Value| Member {
        name: text(&pod["metadata"]["name"]),
        address: text(&pod["status"]["podIP"]),
        uid: text(&pod["metadata"]["uid"]),
        restarts: pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default(),
    };
    let mut members: Vec<Member> = pods["items"].as_array().unwrap().iter().map(member).collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!members.is_empty(), "{mirror} has no member");
    members
}

/// Waits until all ready members have loaded the configuration that the operator wrote last.
pub(crate) fn await_revision(cluster: &Cluster) {
    let same = || {
        let wanted = wanted_revision(cluster)?;
        let mirror = cluster.kubectl_json(&["get", "registrymirror", MIRROR])?;
        let observed = mirror["status"]["observedGeneration"] == mirror["metadata"]["generation"];
        Ok(observed && mirror["status"]["members"]["revision"].as_str() == Some(wanted.as_str()))
    };
    cluster.wait_until(SOON, "members with the configuration that was written", same).unwrap();
}

/// The same after a change that leaves the mirror as it is, before which `before` was wanted: the operator hears of a Secret
/// when it does, and until then all have what was written last.
pub(crate) fn await_next_revision(cluster: &Cluster, before: &str) {
    let written = || Ok(wanted_revision(cluster)? != before);
    cluster.wait_until(SOON, "another configuration", written).unwrap();
    await_revision(cluster);
}

/// The revision that the members' configuration names.
pub(crate) fn wanted_revision(cluster: &Cluster) -> anyhow::Result<String> {
    let name = format!("mirror-{MIRROR}-config");
    let template = r#"go-template={{index .data "proxy.yaml" | base64decode}}"#;
    let text = cluster.kubectl(&["get", "secret", &name, "-n", SYSTEM, "-o", template])?;
    let line = text.lines().find_map(|line| line.strip_prefix("revision: "));
    Ok(line.map(|revision| revision.trim_matches(['\'', '"']).to_owned()).unwrap_or_default())
}
