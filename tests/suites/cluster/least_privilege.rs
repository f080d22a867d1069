//! Least privilege (design N7): what the kernel lets the programs of running pods do, what of the node they see, and what
//! the API server lets them.

#[path = "least_privilege/processes.rs"]
mod processes;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidepool_tests::Cluster;

use crate::installed::{AGENTS, SYSTEM, apply_and_await, ephemeral, installed};
use processes::{Process, processes};

/// All that an agent may ask of the API server: namespace, what, names, verbs. The table in `operator/agent/src/lib.rs`.
const RIGHTS: [(&str, &str, &str, &str); 8] = [
    (AGENTS, "/configmaps", "tidepool-nodes", "list watch"),
    (AGENTS, "/secrets", "tidepool-agent-identity", "list watch"),
    (AGENTS, "apps/daemonsets", "tidepool-agent", "get"),
    (AGENTS, "/namespaces", "tidepool-agents", "get"),
    (SYSTEM, "discovery.k8s.io/endpointslices", "", "list watch"),
    ("", "/nodes", "", "list watch"),
    ("", "tidepool.dev/mirrornodes", "", "get"),
    ("", "tidepool.dev/mirrornodes/status", "", "patch"),
];
/// `NET_BIND_SERVICE` alone, as the kernel prints a set of capabilities.
const BIND: &str = "0000000000000400";
const NONE: &str = "0000000000000000";

#[test]
fn n7_agents_operators_and_members_may_do_what_they_need_and_no_more() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &ephemeral());
    an_agent_has_one_capability_and_three_folders(&cluster);
    operators_and_members_have_none(&cluster);
    an_agent_may_ask_for_what_the_table_says(&cluster);
    a_token_reports_for_its_own_node_alone(&cluster);
    restricted_is_enforced(&cluster);
}

fn an_agent_has_one_capability_and_three_folders(cluster: &Cluster) {
    let agents = processes(cluster, "/tidepool-agent");
    assert!(agents.len() >= 2, "an agent on each node: {agents:?}");
    for agent in &agents {
        assert_eq!(agent.users(), ["0"; 4], "{agent:?}");
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(agent.status(set), BIND, "{set} of {agent:?}");
        }
        confined(agent);
        // The first two are files that the kubelet makes for the pod.
        let writable = ["/dev/termination-log", "/etc/hosts", "/host/registry", "/run/tidepool", "/var/lib/tidepool"];
        assert_eq!(agent.writable(), writable.map(str::to_owned).into(), "{agent:?}");
        assert!(agent.mounts.iter().any(|mount| mount.target == "/host/runtime" && mount.read_only), "{agent:?}");
        assert_eq!(agent.sockets(cluster), "/run/tidepool/admin.sock", "{agent:?}");
    }
    let pods = cluster.kubectl_json(&["get", "pods", "-n", AGENTS, "--field-selector=spec.nodeName=node1"]).unwrap();
    let spec = &pods["items"][0]["spec"];
    let on_host = |volume: &&Value| !volume["hostPath"].is_null();
    let volumes = spec["volumes"].as_array().unwrap();
    let paths: BTreeSet<_> =
        volumes.iter().filter(on_host).map(|it| it["hostPath"]["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/etc/containerd", "/etc/containerd/certs.d", "/var/lib/tidepool"].into());
    assert!(spec["hostNetwork"] == true && spec["hostPID"].is_null() && spec["hostIPC"].is_null(), "{spec:#}");
    let containers = spec["containers"].as_array().unwrap();
    assert!(containers.len() == 1 && containers[0]["ports"].is_null(), "{containers:#?}");
}

fn operators_and_members_have_none(cluster: &Cluster) {
    for program in ["/tidepool-operator", "/tidepool-proxy"] {
        let found = processes(cluster, program);
        assert!(!found.is_empty(), "no {program}");
        for process in &found {
            assert_eq!(process.users(), ["65532"; 4], "{process:?}");
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(process.status(set), NONE, "{set} of {process:?}");
            }
            confined(process);
            assert!(process.mounts.iter().all(|mount| !mount.target.starts_with("/host")), "{process:?}");
        }
    }
}

/// What holds for all: nothing can be gained, system calls are filtered, and the image cannot be written.
fn confined(process: &Process) {
    let gained = ["CapInh", "CapAmb"].map(|set| process.status(set));
    assert_eq!(gained, [NONE; 2], "{process:?}");
    assert_eq!((process.status("NoNewPrivs"), process.status("Seccomp")), ("1", "2"), "{process:?}");
    assert!(process.mounts.iter().any(|mount| mount.target == "/" && mount.read_only), "{process:?}");
}

/// What the API server says this account may do in that namespace: what, names, verbs.
fn rights(cluster: &Cluster, account: &str, namespace: &str) -> BTreeSet<(String, String, String)> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace}});
    // It may not read the definitions that its request would be checked against.
    let create =
        ["create", "--validate=false", "-f", "-", "-o", "json", &format!("--as=system:serviceaccount:{account}")];
    let answer = cluster.try_kubectl_with(&create, &review.to_string()).unwrap().ok().unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let mut verbs = texts(rule, "verbs");
        verbs.sort();
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let names = texts(rule, "resourceNames").join(" ");
                rights.insert((format!("{group}/{resource}"), names, verbs.join(" ")));
            }
        }
    }
    rights
}

fn an_agent_may_ask_for_what_the_table_says(cluster: &Cluster) {
    for namespace in [AGENTS, SYSTEM, "default", "kube-system"] {
        // Everybody may ask who he is.
        let everybody = rights(cluster, "default:default", namespace);
        let all = rights(cluster, &format!("{AGENTS}:tidepool-agent"), namespace);
        let found: BTreeSet<_> = all.difference(&everybody).cloned().collect();
        let here = RIGHTS.iter().filter(|right| right.0.is_empty() || right.0 == namespace);
        let wanted: BTreeSet<_> =
            here.map(|(_, what, names, verbs)| ((*what).into(), (*names).into(), (*verbs).into())).collect();
        assert_eq!(found, wanted, "in {namespace}");
    }
}

/// The admission policy: a node that was taken over cannot speak for another.
fn a_token_reports_for_its_own_node_alone(cluster: &Cluster) {
    let pods = cluster.kubectl_json(&["get", "pods", "-n", AGENTS, "--field-selector=spec.nodeName=node1"]).unwrap();
    let (name, uid) = (pods["items"][0]["metadata"]["name"].as_str().unwrap(), &pods["items"][0]["metadata"]["uid"]);
    let bound =
        ["create", "token", "tidepool-agent", "-n", AGENTS, "--bound-object-kind=Pod", "--bound-object-name", name];
    let token = cluster.kubectl(&[&bound[..], &["--bound-object-uid", uid.as_str().unwrap()]].concat()).unwrap();
    let (server, authority) = cluster.api_server().unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let patch = |node: &str| {
        let url = format!("{server}/apis/tidepool.dev/v1alpha1/mirrornodes/{node}/status?dryRun=All");
        let curl = ["curl", "-sS", "-w", "\n%{http_code}", "--cacert", &authority, "-H", &bearer, "-X", "PATCH", &url];
        let body = ["-H", "Content-Type: application/merge-patch+json", "-d", r#"{"status":{"mirrors":[]}}"#];
        cluster.in_node(1, &[&curl[..], &body].concat()).unwrap()
    };
    let own = patch("node1");
    assert!(own.ends_with("200"), "{own}");
    let other = patch("node2");
    assert!(other.ends_with("403") && other.contains("an agent may report for its own node only"), "{other}");
}

fn restricted_is_enforced(cluster: &Cluster) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": SYSTEM},
        "spec": {"containers": [{"name": "main", "image": "app:1"}]}});
    let denied = cluster.try_apply(&pod.to_string()).unwrap();
    assert!(!denied.success && denied.stderr.contains("violates PodSecurity"), "{denied:?}");
}
