//! Taking Tidepool away: one mirror, or all of it.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tidepool_tests::{Cluster, ImageSpec};

use crate::installed::{
    LISTENER, MIRROR, SOON, SYSTEM, apply_and_await, await_active, cluster, ephemeral, helm, hosts_toml, install,
    mirror, pull,
};

/// A file that an administrator wrote: a comment, an own mirror, odd spacing, and no newline at its end.
const FOREIGN: &str = "# ours since 2024, ask the platform team\nserver   = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.corp.example\"]\n  capabilities = [ \"pull\" ]\n  skip_verify=false";

fn write_foreign(cluster: &Cluster, node: usize) {
    let folder = cluster.certs_d(node).unwrap().join("docker.io");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), FOREIGN).unwrap();
}

/// Waits until no node has anything of ours, and the foreign file on node 1 is what it was.
fn await_nodes_as_before(cluster: &Cluster) {
    let restored = || {
        let entries = |node: usize| -> Vec<String> {
            let entries = fs::read_dir(cluster.certs_d(node).unwrap()).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        Ok(entries(1) == ["docker.io"]
            && entries(2).is_empty()
            && hosts_toml(cluster, 1, "docker.io").is_some_and(|text| text == FOREIGN))
    };
    cluster.wait_until(SOON, "nodes as they were before", restored).unwrap();
}

#[test]
fn a_deleted_mirror_leaves_nodes_as_they_were_and_no_objects() {
    let Some(cluster) = cluster(2) else { return };
    write_foreign(&cluster, 1);
    install(&cluster);
    apply_and_await(&cluster, &mirror(&json!({"type": "Volume", "volume": {"size": "5Gi"}})));
    let merged = hosts_toml(&cluster, 1, "docker.io").unwrap();
    assert!(merged.contains(LISTENER) && merged.contains("mirror.corp.example"), "{merged}");
    assert!(merged.contains("# ours since 2024") && merged.contains("skip_verify=false"), "format is kept: {merged}");

    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=30s"]).unwrap();
    await_nodes_as_before(&cluster);
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let gone = || {
        let kinds = "deployments,pods,services,secrets,serviceaccounts";
        Ok(cluster.kubectl(&["get", kinds, "-n", SYSTEM, "-l", &label, "-o", "name"])?.is_empty())
    };
    cluster.wait_until(SOON, "end of the mirror's objects", gone).unwrap();
    let claims = cluster.kubectl(&["get", "persistentvolumeclaims", "-n", SYSTEM, "-l", &label, "-o", "name"]).unwrap();
    assert_eq!(claims.lines().count(), 1, "retention is Retain, so the claim stays: {claims}");

    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/after", "1")).unwrap();
    pull(&cluster, 2, "after:1");
}

#[test]
fn an_upgrade_keeps_files_and_an_uninstall_with_a_mirror_left_takes_them_back() {
    let Some(cluster) = cluster(2) else { return };
    write_foreign(&cluster, 1);
    install(&cluster);
    apply_and_await(&cluster, &ephemeral());
    let file = cluster.certs_d(2).unwrap().join("docker.io/hosts.toml");
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&file);

    helm(&cluster, "upgrade", &["--set", "log.level=debug"]);
    cluster
        .kubectl(&["rollout", "status", "daemonset/tidepool-agent", "-n", "tidepool-agents", "--timeout=90s"])
        .unwrap();
    let pods = cluster.kubectl_json(&["get", "pods", "-n", "tidepool-agents"]).unwrap();
    assert!(pods.to_string().contains("debug"), "the changed value has reached the agents");
    await_active(&cluster);
    assert_eq!(inode(&file), before, "an upgrade writes no file anew");

    cluster.helm(&["uninstall", "tidepool", "-n", SYSTEM, "--wait", "--timeout", "2m"]).unwrap();
    await_nodes_as_before(&cluster);
    let members =
        cluster.kubectl(&["get", "deployments", "-n", SYSTEM, "-l", "tidepool.dev/mirror", "-o", "name"]).unwrap();
    assert_eq!(members.lines().count(), 1, "members outlive the uninstall until their mirror is deleted: {members}");

    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=30s"]).unwrap();
    let empty = || {
        let agents = cluster.try_kubectl(&["get", "namespace", "tidepool-agents"])?;
        let members = cluster.kubectl(&["get", "deployments,pods", "-n", SYSTEM, "-o", "name"])?;
        Ok(!agents.success && members.is_empty())
    };
    cluster.wait_until(Duration::from_secs(120), "end of everything", empty).unwrap();
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/after", "1")).unwrap();
    pull(&cluster, 2, "after:1");
}
