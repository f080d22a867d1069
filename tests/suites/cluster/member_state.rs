//! Members as one sees them from outside: what each keeps, which are ready, and how one is killed.

use std::collections::BTreeSet;

use serde_json::Value;
use tidepool_tests::{Cluster, Image, Request};

use crate::installed::{AGENTS, MIRROR, Member, SOON, SYSTEM, members};

/// The digests of an image's blobs.
pub(crate) fn blobs(image: &Image) -> Vec<&str> {
    std::iter::once(&image.config).chain(&image.layers).map(|blob| blob.digest.as_str()).collect()
}

/// Fails where contents of an image's blobs were had more than once by the requests of a log. By one connection or several,
/// where they come slowly: it is the bytes that come once, but for what is on its way in one that is closed for another.
pub(crate) fn assert_had_once(log: &[Request], image: &Image) {
    for blob in std::iter::once(&image.config).chain(&image.layers) {
        let had = log.iter().filter(|request| request.served() && request.reference() == blob.digest);
        let bytes: u64 = had.map(|request| request.bytes).sum();
        let once = blob.size..2 * blob.size;
        assert!(once.contains(&bytes), "{bytes} bytes of {}, which has {}: {log:#?}", blob.digest, blob.size);
    }
}

/// Fails where anybody but members asked.
pub(crate) fn assert_only_members(log: &[Request]) {
    let others: Vec<_> = log.iter().filter(|request| !request.user_agent.starts_with("tidepool")).collect();
    assert!(others.is_empty(), "past the mirror: {others:#?}");
}

/// Cuts a node's own processes, its runtime among them, off from a registry; pods on it go on.
pub(crate) fn cut_off(cluster: &Cluster, node: usize, host: &str) {
    let address = cluster.in_node(node, &["getent", "ahostsv4", host]).unwrap();
    let address = address.split_whitespace().next().expect("an address of the registry").to_owned();
    let reject = ["iptables", "-I", "OUTPUT", "-d", &address, "-j", "REJECT"];
    cluster.in_node(node, &reject).unwrap();
    let asked = cluster.try_in_node(node, &["curl", "-sS", "-m", "3", &format!("https://{host}/v2/")]).unwrap();
    assert!(!asked.success, "node{node} has no way to {host}");
}

/// The number of the node that a member is on.
pub(crate) fn node_of(cluster: &Cluster, member: &Member) -> usize {
    let node = ["get", "pod", "-n", SYSTEM, &member.name, "-o", "jsonpath={.spec.nodeName}"];
    cluster.kubectl(&node).unwrap().trim_start_matches("node").parse().expect("a node with a number")
}

/// Names of files in a member's store.
fn files(cluster: &Cluster, member: &Member, pattern: &str) -> BTreeSet<String> {
    let volumes = format!("/var/lib/kubelet/pods/{}/volumes", member.uid);
    let find = ["find", &volumes, "-type", "f", "-regextype", "posix-extended", "-regex", pattern];
    let found = cluster.in_node(node_of(cluster, member), &find).unwrap();
    found.lines().filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect()
}

/// The digests of the blobs that a member keeps.
pub(crate) fn kept(cluster: &Cluster, member: &Member) -> BTreeSet<String> {
    let names = files(cluster, member, ".*/store/blobs/.*/[0-9a-f]{64}");
    names.into_iter().map(|name| format!("sha256:{name}")).collect()
}

/// Waits until each of these blobs is in one member, and gives how many each has: what has passed on its last byte keeps it
/// a moment later.
pub(crate) fn await_shares(cluster: &Cluster, all: &BTreeSet<String>) -> Vec<usize> {
    let mut shares = Vec::new();
    let in_one = || {
        let share = |member| all.intersection(&kept(cluster, member)).count();
        shares = members(cluster, MIRROR).iter().map(share).collect();
        Ok(shares.iter().sum::<usize>() == all.len())
    };
    let in_one = cluster.wait_until(SOON, "each blob in one member", in_one);
    in_one.unwrap_or_else(|error| panic!("{shares:?} of {}\n{error:#}", all.len()));
    shares
}

/// Waits for the member to which a blob is on its way.
pub(crate) fn await_fill(cluster: &Cluster, digest: &str) -> Member {
    let (hex, mut found) = (digest.trim_start_matches("sha256:"), None);
    let pattern = format!(".*/store/tmp/fill-sha256-{hex}");
    let filling = || {
        found = members(cluster, MIRROR).into_iter().find(|member| !files(cluster, member, &pattern).is_empty());
        Ok(found.is_some())
    };
    cluster.wait_until(SOON, &format!("transfer of {digest}"), filling).unwrap();
    found.expect("that was waited for")
}

/// Waits until a member has an answer to a node's agent under way.
pub(crate) fn await_answering(cluster: &Cluster, member: &Member) {
    let curl = ["curl", "-sS", "-m", "2", "http://127.0.0.1:8080/metrics"];
    let answers = || {
        let metrics = cluster.try_in_pod_network(SYSTEM, &member.name, &curl)?.stdout;
        let mut lines =
            metrics.lines().filter(|line| line.starts_with("tidepool_requests_in_flight{listener=\"agents\"}"));
        Ok(lines.any(|line| !line.ends_with(" 0")))
    };
    cluster.wait_until(SOON, &format!("answer of {} under way", member.name), answers).unwrap();
}

/// The process of the pod whose name begins so, as its node numbers it.
fn process(cluster: &Cluster, node: usize, namespace: &str, pod: &str) -> String {
    let of = |command: &[&str]| {
        let found = cluster.in_node(node, command).unwrap();
        found.lines().next().unwrap_or_else(|| panic!("{command:?} finds nothing")).to_owned()
    };
    let name = format!("^{pod}");
    let sandbox = of(&["crictl", "pods", "--quiet", "--state=ready", "--namespace", namespace, "--name", &name]);
    let container = of(&["crictl", "ps", "--quiet", "--pod", &sandbox]);
    of(&["crictl", "inspect", "-o", "go-template", "--template", "{{.info.pid}}", &container])
}

/// Kills a member's process, which is told nothing.
pub(crate) fn kill(cluster: &Cluster, member: &Member) {
    let node = node_of(cluster, member);
    let process = process(cluster, node, SYSTEM, &member.name);
    cluster.in_node(node, &["kill", "-KILL", &process]).unwrap();
}

/// How many bodies went on with another member, as a node's agent counts.
pub(crate) fn resumed(cluster: &Cluster, node: usize) -> u64 {
    let process = process(cluster, node, AGENTS, "tidepool-agent");
    let socket = format!("/proc/{process}/root/run/tidepool/admin.sock");
    let metrics = cluster.in_node(node, &["curl", "-sS", "--unix-socket", &socket, "http://agent/metrics"]).unwrap();
    let counts = metrics.lines().filter(|line| line.starts_with("tidepool_agent_resumes_total{result=\"completed\"}"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Whether a member is to stay.
fn stays(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Members that are to stay, each with whether it is ready, as the API server has them.
fn readiness(cluster: &Cluster) -> Vec<(Value, bool)> {
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let pods = cluster.kubectl_json(&["get", "pods", "-n", SYSTEM, "-l", &label]).unwrap();
    let pods = pods["items"].as_array().cloned().unwrap_or_default().into_iter();
    pods.filter(stays).map(|pod| (pod.clone(), is_ready(&pod))).collect()
}

/// Waits until there are so many members, all ready and with this annotation where one is named; none goes any more.
pub(crate) fn await_members(cluster: &Cluster, count: usize, annotation: Option<(&str, &str)>) {
    let all = || {
        let found = readiness(cluster);
        let has = |pod: &Value| annotation.is_none_or(|(key, value)| pod["metadata"]["annotations"][key] == value);
        let right = found.len() == count && found.iter().all(|(pod, ready)| *ready && has(pod));
        let mirror = cluster.kubectl_json(&["get", "registrymirror", MIRROR])?;
        let told = &mirror["status"]["members"];
        Ok(right && told["desired"] == count && told["ready"] == count && known_to_agents(cluster)?)
    };
    cluster.wait_until(SOON * 2, &format!("{count} members that are ready and known to all"), all).unwrap();
}

/// Whether every node's agent has the members that there are.
fn known_to_agents(cluster: &Cluster) -> anyhow::Result<bool> {
    let there: BTreeSet<_> = members(cluster, MIRROR).into_iter().map(|it| format!("{}:5443", it.address)).collect();
    let knows = |node| -> anyhow::Result<bool> {
        let text = std::fs::read_to_string(cluster.var_lib_tidepool(node)?.join("last.json")).unwrap_or_default();
        let last: Value = serde_json::from_str(&text).unwrap_or_default();
        let known = last["members"][MIRROR].as_object().cloned().unwrap_or_default();
        Ok(known.values().filter_map(Value::as_str).map(str::to_owned).collect::<BTreeSet<_>>() == there)
    };
    (1..=cluster.node_count()?).try_fold(true, |all, node| Ok(all && knows(node)?))
}

/// The fewest members that were ready at any time while `act` ran, which begins and ends with all of them ready.
pub(crate) fn fewest_ready<T>(cluster: &Cluster, act: impl FnOnce() -> T) -> (T, usize) {
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let watch = cluster.watch(&["pods", "-n", SYSTEM, "-l", &label]).unwrap();
    let seen = |versions: &BTreeSet<String>| {
        versions.is_subset(&watch.seen().iter().map(|it| version(&it["object"])).collect())
    };
    let now = || readiness(cluster).iter().map(|(pod, _)| version(pod)).collect();
    cluster.wait_until(SOON, "watch of all members", || Ok(seen(&now()))).unwrap();
    let before = watch.seen().len();
    let result = act();
    cluster.wait_until(SOON, "watch that has seen the end", || Ok(seen(&now()))).unwrap();
    let (mut ready, mut fewest) = (BTreeSet::new(), usize::MAX);
    for (number, event) in (1..).zip(watch.seen()) {
        let (pod, name) = (&event["object"], event["object"]["metadata"]["name"].to_string());
        if event["type"] != "DELETED" && stays(pod) && is_ready(pod) {
            ready.insert(name);
        } else {
            ready.remove(&name);
        }
        if number >= before {
            fewest = fewest.min(ready.len());
        }
    }
    (result, fewest)
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].to_string()
}
