//! The control groups of a cluster: one folder per hierarchy, named after the cluster, with one child per node.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// A mounted control group hierarchy.
struct Hierarchy {
    root: PathBuf,
    unified: bool,
}

/// Makes the groups that the nodes' kubelets take as their root.
///
/// On a host with version 1 hierarchies only those are used, as runc does; else the controllers are handed down in the
/// unified one as far as the host lets us.
pub(crate) fn create(name: &str, nodes: &[String]) -> Result<()> {
    let all = hierarchies()?;
    let legacy = all.iter().any(|hierarchy| !hierarchy.unified);
    for hierarchy in all.iter().filter(|hierarchy| hierarchy.unified != legacy) {
        let root = hierarchy.root.join(name);
        make(hierarchy, &root)?;
        for node in nodes {
            make(hierarchy, &root.join(node))?;
        }
    }
    Ok(())
}

/// Removes the groups of a cluster whose processes are gone.
pub(crate) fn remove(name: &str) -> Result<()> {
    let roots: Vec<PathBuf> = hierarchies()?.into_iter().map(|hierarchy| hierarchy.root.join(name)).collect();
    // The kernel empties a group a moment after its last process is reaped.
    wait::until(Duration::from_secs(30), Duration::from_millis(50), "removal of the control groups", || {
        for root in &roots {
            remove_tree(root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        Ok(true)
    })
}

fn make(hierarchy: &Hierarchy, group: &Path) -> Result<()> {
    let parent = group.parent().unwrap_or(group);
    if hierarchy.unified {
        // Each by itself, since a host may delegate some only; kubelet names what it then misses.
        for controller in ["cpuset", "cpu", "io", "memory", "pids"] {
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    fs::create_dir_all(group).with_context(|| format!("cannot make {}", group.display()))?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // Version 1 starts a group without any processor or memory node.
        if !hierarchy.unified && group.join(file).exists() {
            let inherited = fs::read_to_string(parent.join(file)).context("cannot read the processors of a group")?;
            fs::write(group.join(file), inherited).context("cannot set the processors of a group")?;
        }
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let root = PathBuf::from(fields.next()?);
        let kind = fields.next()?;
        (kind == "cgroup" || kind == "cgroup2").then(|| Hierarchy { root, unified: kind == "cgroup2" })
    });
    Ok(mounted.collect())
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // The files in a group are the kernel's: only folders are removed, innermost first.
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path())?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
