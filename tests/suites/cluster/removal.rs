//! Taking Tidepool away in every other order than the one of the documentation, and bringing it back.

use std::fs;

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec, repository};

use crate::installed::{
    AGENTS, MIRROR, SOON, SYSTEM, apply_and_await, await_active, cluster, helm, hosts_toml, install, members, mirror,
    pull,
};
use crate::node_state::{Tree, await_around, await_as_before, await_ours, await_used, tree, write_foreign};
use crate::pull_loop::{PullLoop, while_pulling};

const APP: &str = "docker.io/library/app:1";

struct Removal<'a> {
    cluster: &'a Cluster,
    pulls: &'a PullLoop<'a>,
    /// Both nodes as they were before Tidepool came.
    before: &'a [Tree; 2],
}

#[test]
fn n4_an_uninstall_in_any_order_restores_nodes_and_a_later_install_adopts_what_it_left() {
    let Some(cluster) = cluster(2) else { return };
    write_foreign(&cluster, 1);
    let before = [tree(&cluster, 1).unwrap(), tree(&cluster, 2).unwrap()];
    install(&cluster);
    apply_and_await(&cluster, &mirror(&json!({"type": "Volume", "volume": {"size": "5Gi"}})));
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1").layers(&[32, 8])).unwrap();

    let ((), seen) = while_pulling(&cluster, 1, APP, |pulls| {
        let removal = Removal { cluster: &cluster, pulls, before: &before };
        await_used(&cluster, pulls);
        removal.an_uninstall_with_a_mirror_left_and_an_install_that_adopts_it();
        removal.the_agents_namespace_is_deleted();
        removal.an_agent_is_killed_before_it_could_withdraw();
        removal.cleanup_by_hand();
    });
    println!("{} pulls, the longest {:.1?}", seen.pulls, seen.longest);
    the_mirror_goes_last(&cluster);
    pull(&cluster, 2, APP);
}

impl Removal<'_> {
    fn nodes_are_as_before(&self) {
        for (node, before) in (1..).zip(self.before) {
            await_as_before(self.cluster, node, before);
        }
        await_around(self.cluster, self.pulls);
    }

    fn is_used(&self) {
        await_active(self.cluster);
        for (node, before) in (1..).zip(self.before) {
            await_ours(self.cluster, node, before);
        }
        await_used(self.cluster, self.pulls);
    }

    fn an_uninstall_with_a_mirror_left_and_an_install_that_adopts_it(&self) {
        let identities = identities(self.cluster);
        self.pulls.step("uninstalled, the mirror left", || {
            self.cluster.helm(&["uninstall", "tidepool", "-n", SYSTEM, "--wait", "--timeout", "4m"]).unwrap();
            self.nodes_are_as_before();
        });
        self.agents_are_gone();
        assert_eq!(self::identities(self.cluster), identities, "members outlive the uninstall");
        self.pulls.step("installed again", || {
            helm(self.cluster, "install", &[]);
            // What is upstream only would be asked for there: the content is what the members kept.
            self.is_used();
        });
        // Seconds in which the operator would roll what it took for another's.
        let observed = || {
            let mirror = self.cluster.kubectl_json(&["get", "registrymirror", MIRROR])?;
            Ok(mirror["status"]["nodes"]["summary"] == "2/2")
        };
        self.cluster.wait_until(SOON, "count of the nodes", observed).unwrap();
        assert_eq!(self::identities(self.cluster), identities, "objects, claims and pods are adopted as they are");
    }

    /// Without a word to Helm, and the DaemonSet goes with everything in it in no order.
    fn the_agents_namespace_is_deleted(&self) {
        self.pulls.step("agents' namespace deleted", || {
            self.cluster.kubectl(&["delete", "namespace", AGENTS, "--timeout=180s"]).unwrap();
            self.nodes_are_as_before();
        });
        self.pulls.step("agents' namespace made again", || {
            helm(self.cluster, "upgrade", &[]);
            self.is_used();
        });
    }

    /// Node 1's kubelet does not hear of the uninstall before somebody has killed the agent.
    fn an_agent_is_killed_before_it_could_withdraw(&self) {
        let file = hosts_toml(self.cluster, 1, "docker.io").unwrap();
        self.pulls.step("uninstalled, and an agent killed", || {
            let agent = ["crictl", "ps", "--quiet", "--name", "^agent$"];
            let agent = self.cluster.in_node(1, &agent).unwrap();
            let process = ["crictl", "inspect", "-o", "go-template", "--template", "{{.info.pid}}", agent.trim()];
            let process = self.cluster.in_node(1, &process).unwrap();
            self.signal_kubelet("-STOP");
            self.cluster.helm(&["uninstall", "tidepool", "-n", SYSTEM]).unwrap();
            await_as_before(self.cluster, 2, &self.before[1]);
            let pods = ["delete", "pods", "--all", "-n", AGENTS, "--force", "--grace-period=0"];
            self.cluster.kubectl(&pods).unwrap();
            self.cluster.in_node(1, &["kill", "-9", process.trim()]).unwrap();
            self.signal_kubelet("-CONT");
            self.agents_are_gone();
            await_around(self.cluster, self.pulls);
        });
        assert_eq!(hosts_toml(self.cluster, 1, "docker.io"), Some(file), "the file stays, and does no harm");
    }

    fn cleanup_by_hand(&self) {
        let manifest = fs::read_to_string(repository().join("charts/tidepool/cleanup.yaml")).unwrap();
        self.pulls.step("cleaned up by hand", || {
            self.cluster.apply(&manifest).unwrap();
            let rollout = ["rollout", "status", "daemonset/tidepool-cleanup", "-n", "tidepool-cleanup"];
            let done = self.cluster.kubectl(&[&rollout[..], &["--timeout=180s"]].concat());
            done.map_err(|error| format!("{error:#}\n{}", self.cluster.diagnose())).unwrap();
            self.nodes_are_as_before();
        });
        self.cluster.try_kubectl_with(&["delete", "-f", "-"], &manifest).unwrap().ok().unwrap();
    }

    fn agents_are_gone(&self) {
        let gone = || Ok(!self.cluster.try_kubectl(&["get", "namespace", AGENTS])?.success);
        self.cluster.wait_until(SOON, "end of the agents' namespace", gone).unwrap();
    }

    fn signal_kubelet(&self, signal: &str) {
        let number = fs::read_to_string(self.cluster.folder().unwrap().join("node1/kubelet.pid")).unwrap();
        self.cluster.in_node(1, &["kill", signal, number.trim()]).unwrap();
    }
}

/// What must be the same before an uninstall, after it, and after an install: objects by uid and generation, and pods.
fn identities(cluster: &Cluster) -> Vec<Value> {
    let objects = [
        ("registrymirror", MIRROR),
        ("persistentvolumeclaim", "mirror-reef-0"),
        ("deployment", "mirror-reef-0"),
        ("service", "mirror-reef"),
    ];
    let identity = |(kind, name): (&str, &str)| {
        let metadata = &cluster.kubectl_json(&["get", kind, name, "-n", SYSTEM]).unwrap()["metadata"];
        json!([kind, metadata["uid"], metadata["generation"]])
    };
    let pods = members(cluster, MIRROR).iter().map(|pod| json!([pod.uid, pod.restarts])).collect::<Vec<_>>();
    objects.map(identity).into_iter().chain(pods).collect()
}

/// With no operator there, members go with the mirror that owns them; its claim stays, since retention is Retain.
fn the_mirror_goes_last(cluster: &Cluster) {
    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
    let gone = || {
        let kinds = "deployments,pods,services,secrets,serviceaccounts";
        let label = format!("tidepool.dev/mirror={MIRROR}");
        Ok(cluster.kubectl(&["get", kinds, "-n", SYSTEM, "-l", &label, "-o", "name"])?.is_empty())
    };
    cluster.wait_until(SOON, "end of the mirror's objects", gone).unwrap();
    let claims = cluster.kubectl(&["get", "persistentvolumeclaims", "-n", SYSTEM, "-o", "name"]).unwrap();
    assert_eq!(claims.lines().count(), 1, "retention is Retain, so the claim stays: {claims}");
}
