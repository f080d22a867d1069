//! A node's life with Tidepool on it: upgrades, drains, labels, taints, mirrors that go and come back, reboots.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec};

use crate::installed::{
    AGENTS, MIRROR, SOON, SYSTEM, apply_and_await, cluster, ephemeral, helm, install_with, members,
};
use crate::node_state::{Tree, await_around, await_as_before, await_ours, await_used, tree, write_foreign};
use crate::pull_loop::{PullLoop, while_pulling};
use crate::quiet::{await_proven, writes};

const APP: &str = "docker.io/library/app:1";
/// A label and a taint with which this cluster's agents leave a node.
const LEFT_ALONE: &str = "corp.example/left-alone";

/// Agents that are not everywhere.
fn agents() -> [String; 4] {
    let expression = json!([{"matchExpressions": [{"key": LEFT_ALONE, "operator": "DoesNotExist"}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": expression}});
    let affinity = format!("agent.affinity={}", json!({"nodeAffinity": required}));
    ["--set-json", "agent.tolerations=[]", "--set-json", &affinity].map(str::to_owned)
}

pub(crate) struct Life<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) pulls: &'a PullLoop<'a>,
    /// Both nodes as they were before Tidepool came.
    before: &'a [Tree; 2],
}

#[test]
fn n4_no_pull_fails_and_files_follow_through_a_nodes_life() {
    let Some(cluster) = cluster(2) else { return };
    write_foreign(&cluster, 1);
    let before = [tree(&cluster, 1).unwrap(), tree(&cluster, 2).unwrap()];
    install_with(&cluster, &agents().each_ref().map(String::as_str));
    apply_and_await(&cluster, &ephemeral());
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1").layers(&[32, 8])).unwrap();

    let ((), seen) = while_pulling(&cluster, 1, APP, |pulls| {
        let life = Life { cluster: &cluster, pulls, before: &before };
        life.is_used();
        life.operators_are_replaced();
        life.pods_are_deleted();
        life.a_node_is_drained();
        life.agents_leave_a_node();
        life.a_node_is_not_meant();
        life.a_node_reboots();
        life.a_node_reboots_without_the_api_server();
        life.all_goes();
    });
    println!("{} pulls, the longest {:.1?}", seen.pulls, seen.longest);
}

impl Life<'_> {
    /// Files are ours, and pulls are served by the mirror.
    pub(crate) fn is_used(&self) {
        await_ours(self.cluster, 1, &self.before[0]);
        await_used(self.cluster, self.pulls);
    }

    /// Node 1 is as it was before, and pulls past the mirror; it is node 1 alone or both.
    fn is_left(&self, nodes: &[usize]) {
        for &node in nodes {
            await_as_before(self.cluster, node, &self.before[node - 1]);
        }
        await_around(self.cluster, self.pulls);
    }

    /// Does something after which node 1 is left alone, undoes it, and finds the mirror in use again.
    fn left_and_back(&self, what: &str, nodes: &[usize], leave: &[&str], back: &[&str]) {
        self.pulls.step(what, || {
            self.cluster.kubectl(leave).unwrap();
            self.is_left(nodes);
        });
        self.pulls.step(&format!("{what}, undone"), || {
            self.cluster.kubectl(back).unwrap();
            self.is_used();
        });
    }

    fn operators_are_replaced(&self) {
        let pods = |part: &str, namespace: &str| {
            let label = format!("app.kubernetes.io/component={part}");
            self.cluster.kubectl(&["get", "pods", "-n", namespace, "-l", &label, "-o", "name"]).unwrap()
        };
        let counted = || {
            let mirror = self.cluster.kubectl_json(&["get", "registrymirror", MIRROR])?;
            Ok(mirror["status"]["nodes"]["summary"] == "2/2")
        };
        self.cluster.wait_until(SOON, "count of the nodes", counted).unwrap();
        // Nobody pulls on node 2, which is probed; that is none of the take-over's doing.
        await_proven(self.cluster);
        let (operators, agent_pods) = (pods("operator", SYSTEM), pods("agent", AGENTS));
        let (member, file) = (members(self.cluster, MIRROR), self.file());
        self.pulls.step("operator upgraded", || {
            let mut values = agents().to_vec();
            values.extend(["--set".to_owned(), "operator.podAnnotations.turn=second".to_owned()]);
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let ((), events) = self
                .cluster
                .audit_during(|| {
                    helm(self.cluster, "upgrade", &values);
                    Ok(())
                })
                .unwrap();
            // Its status may tell of what nodes and registries did meanwhile; `leader.rs` has it quiet.
            let written: Vec<_> = writes(&events).into_iter().filter(|event| event.subresource != "status").collect();
            assert!(written.is_empty(), "written by operators that took over: {written:#?}");
            let replaced = || Ok(!operators.lines().any(|pod| pods("operator", SYSTEM).contains(pod)));
            self.cluster.wait_until(SOON, "end of the operators before", replaced).unwrap();
        });
        assert_eq!(pods("agent", AGENTS), agent_pods, "an operator's upgrade is no agent's");
        assert_eq!(members(self.cluster, MIRROR), member, "nor a member's");
        assert_eq!(self.file(), file, "and writes no file anew");
        self.is_used();
    }

    /// Without a drain, and in the middle of bodies.
    fn pods_are_deleted(&self) {
        for (what, namespace, label) in [
            ("member deleted", SYSTEM, format!("tidepool.dev/mirror={MIRROR}")),
            ("agents deleted", AGENTS, "app.kubernetes.io/component=agent".to_owned()),
        ] {
            self.pulls.step(what, || {
                let pods = ["pods", "-n", namespace, "-l", &label];
                self.cluster.kubectl(&[&["delete"], &pods[..], &["--timeout=180s"]].concat()).unwrap();
                let ready = || {
                    let pods = self.cluster.kubectl_json(&[&["get"], &pods[..]].concat())?;
                    let pods = pods["items"].as_array().cloned().unwrap_or_default();
                    let is_ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
                    Ok(!pods.is_empty() && pods.iter().all(is_ready))
                };
                self.cluster.wait_until(SOON, "pods in place of the deleted", ready).unwrap();
                self.is_used();
            });
        }
    }

    /// The member's node, so that it has to move.
    fn a_node_is_drained(&self) {
        let before = members(self.cluster, MIRROR);
        let node =
            self.cluster.kubectl(&["get", "pod", "-n", SYSTEM, &before[0].name, "-o", "jsonpath={.spec.nodeName}"]);
        let node = node.unwrap();
        self.pulls.step(&format!("{node} drained"), || {
            let drain = ["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s"];
            self.cluster.kubectl(&drain).map_err(|error| format!("{error:#}\n{}", self.cluster.diagnose())).unwrap();
            let ready = ["rollout", "status", &format!("deployment/mirror-{MIRROR}-ephemeral"), "-n", SYSTEM];
            self.cluster.kubectl(&[&ready[..], &["--timeout=180s"]].concat()).unwrap();
            assert_ne!(members(self.cluster, MIRROR)[0].uid, before[0].uid, "the member has moved");
            self.is_used();
        });
        self.cluster.kubectl(&["uncordon", &node]).unwrap();
    }

    /// What makes the DaemonSet take its pod from a node for good.
    fn agents_leave_a_node(&self) {
        let (label, unlabel) = (format!("{LEFT_ALONE}=yes"), format!("{LEFT_ALONE}-"));
        self.left_and_back(
            "agents' affinity leaves the node out",
            &[1],
            &["label", "node", "node1", &label],
            &["label", "node", "node1", &unlabel],
        );
        let (taint, untaint) = (format!("{LEFT_ALONE}=yes:NoExecute"), format!("{LEFT_ALONE}-"));
        self.left_and_back(
            "agents do not tolerate a taint",
            &[1],
            &["taint", "node", "node1", &taint],
            &["taint", "node", "node1", &untaint],
        );
    }

    /// What makes an agent that stays take its files back.
    fn a_node_is_not_meant(&self) {
        let (label, unlabel) = ("tidepool.dev/exclude=true", "tidepool.dev/exclude-");
        self.left_and_back(
            "node excluded",
            &[1],
            &["label", "node", "node1", label],
            &["label", "node", "node1", unlabel],
        );
        let patch = |nodes: Value| json!({"spec": {"nodes": nodes}}).to_string();
        let change = |what: &str, nodes: &[usize], leave: Value, back: Value| {
            let (leave, back) = (patch(leave), patch(back));
            let patch = ["patch", "registrymirror", MIRROR, "--type=merge", "-p"];
            self.left_and_back(what, nodes, &[&patch[..], &[&leave]].concat(), &[&patch[..], &[&back]].concat());
        };
        let other = json!({"selector": {"matchLabels": {"kubernetes.io/hostname": "node2"}}});
        change("node deselected", &[1], other, json!({"selector": null}));
        change("mode Withdraw", &[1, 2], json!({"mode": "Withdraw"}), json!({"mode": null}));
    }

    /// The order of the documentation: mirrors first, then the chart.
    fn all_goes(&self) {
        self.pulls.step("mirror deleted", || {
            self.cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
            self.is_left(&[1, 2]);
            let gone = || {
                let kinds = "deployments,pods,services,secrets,serviceaccounts";
                let label = format!("tidepool.dev/mirror={MIRROR}");
                Ok(self.cluster.kubectl(&["get", kinds, "-n", SYSTEM, "-l", &label, "-o", "name"])?.is_empty())
            };
            self.cluster.wait_until(SOON, "end of the mirror's objects", gone).unwrap();
        });
        self.pulls.step("chart uninstalled after its mirror", || {
            self.cluster.helm(&["uninstall", "tidepool", "-n", SYSTEM, "--wait", "--timeout", "4m"]).unwrap();
            self.is_left(&[1, 2]);
        });
    }

    /// The looping node's file: its inode, which a file written anew does not keep, and its time.
    pub(crate) fn file(&self) -> (u64, i64) {
        let path = self.cluster.certs_d(1).unwrap().join("docker.io/hosts.toml");
        let metadata = fs::metadata(path).unwrap();
        (metadata.ino(), metadata.mtime_nsec())
    }
}
