//! What a node's registry directory holds, and whether its pulls go through the mirror or past it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use tidepool_tests::{Cluster, Request};

use crate::installed::{LISTENER, SOON, hosts_toml};
use crate::pull_loop::PullLoop;

/// A file that an administrator wrote: a comment, an own mirror, odd spacing, and no newline at its end.
pub(crate) const FOREIGN: &str = "# ours since 2024, ask the platform team\nserver   = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.corp.example\"]\n  capabilities = [ \"pull\" ]\n  skip_verify=false";

/// Everything below a node's registry directory, by path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    /// Of a file: when it was written, and what.
    content: Option<(i64, String)>,
}

/// Puts that file on a node, for Docker Hub, and another for a registry that no test mirrors.
pub(crate) fn write_foreign(cluster: &Cluster, node: usize) {
    for registry in ["docker.io", "registry.corp.example"] {
        let folder = cluster.certs_d(node).unwrap().join(registry);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("hosts.toml"), FOREIGN).unwrap();
    }
}

/// What is on a node now.
pub(crate) fn tree(cluster: &Cluster, node: usize) -> Result<Tree> {
    let mut tree = BTreeMap::new();
    let root = cluster.certs_d(node)?;
    collect(&root, &root, &mut tree)?;
    Ok(Tree(tree))
}

fn collect(root: &Path, folder: &Path, tree: &mut BTreeMap<String, Entry>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        let content = if metadata.is_dir() { None } else { Some((metadata.mtime(), fs::read_to_string(&path)?)) };
        let entry = Entry { mode: metadata.mode(), content };
        tree.insert(path.strip_prefix(root)?.display().to_string(), entry);
        if metadata.is_dir() {
            collect(root, &path, tree)?;
        }
    }
    Ok(())
}

/// Waits until a node is as it was, byte for byte.
pub(crate) fn await_as_before(cluster: &Cluster, node: usize, before: &Tree) {
    // A file may go while it is read.
    let restored = || Ok(tree(cluster, node).is_ok_and(|now| now == *before));
    let awaited = cluster.wait_until(SOON, &format!("node{node} as it was before"), restored);
    awaited.unwrap_or_else(|error| panic!("{error:#}\n{:#?}\nwas {before:#?}", tree(cluster, node)));
}

/// Waits until a node's files name the agent, and what was somebody's is still in them.
pub(crate) fn await_ours(cluster: &Cluster, node: usize, before: &Tree) {
    let names_agent = |registry: &str| hosts_toml(cluster, node, registry).is_some_and(|text| text.contains(LISTENER));
    let ours = || Ok(["docker.io", "ghcr.io"].into_iter().all(names_agent));
    cluster.wait_until(SOON, &format!("files of ours on node{node}"), ours).unwrap();
    if before.0.contains_key("docker.io/hosts.toml") {
        let merged = hosts_toml(cluster, node, "docker.io").unwrap();
        let kept = ["# ours since 2024", "mirror.corp.example", "skip_verify=false"];
        assert!(kept.iter().all(|part| merged.contains(part)), "format is kept: {merged}");
        assert_eq!(hosts_toml(cluster, node, "registry.corp.example").as_deref(), Some(FOREIGN));
    }
}

/// Waits until a whole pull of the loop asks upstream for no blob: the mirror serves it.
pub(crate) fn await_used(cluster: &Cluster, pulls: &PullLoop<'_>) {
    let used = || Ok(during_a_pull(cluster, pulls)?.iter().all(|request| !request.is_blob()));
    cluster.wait_until(SOON, "pull that the mirror serves", used).unwrap();
}

/// Waits until a whole pull of the loop fetches blobs from upstream by itself.
pub(crate) fn await_around(cluster: &Cluster, pulls: &PullLoop<'_>) {
    let by_node = |r: &Request| r.is_blob() && r.served() && !r.user_agent.starts_with("tidepool");
    let around = || Ok(during_a_pull(cluster, pulls)?.iter().any(by_node));
    cluster.wait_until(SOON, "pull that goes past the mirror", around).unwrap();
}

fn during_a_pull(cluster: &Cluster, pulls: &PullLoop<'_>) -> Result<Vec<Request>> {
    let pulled = || {
        pulls.await_next();
        Ok(())
    };
    Ok(cluster.registry("docker.io")?.requests_during(pulled)?.1)
}
