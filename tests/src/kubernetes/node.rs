//! A node: its network, its own `/etc`, `/run` and `/var/lib`, containerd, kubelet and kube-proxy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::control_plane::{kubeconfig, node_token};
use super::node_options::{Containerd, NodeOptions};
use super::{node_files, write_kubeconfig};
use crate::addresses;
use crate::machine::Machine;
use crate::wait;

/// What a node needs to know of its cluster before it starts.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// The control plane, whose network namespace holds the bridge.
    pub(crate) control_plane: &'a Machine,
    /// Name of the cluster's control group.
    pub(crate) control_group: &'a str,
    /// Lines for `/etc/hosts`.
    pub(crate) hosts: &'a str,
    /// The authority of the stand-in registries.
    pub(crate) authority: &'a str,
    /// The folder of the CNI plugins.
    pub(crate) tools: &'a Path,
    /// How many nodes the cluster has.
    pub(crate) nodes: usize,
    /// Those that are no ordinary ones.
    pub(crate) options: &'a BTreeMap<usize, NodeOptions>,
}

const ORDINARY: NodeOptions =
    NodeOptions { containerd: Containerd::V2_4, registry_config: None, rate: None, in_memory: false };

impl Surroundings<'_> {
    /// How a node differs from an ordinary one.
    pub(crate) fn options_of(&self, number: usize) -> &NodeOptions {
        self.options.get(&number).unwrap_or(&ORDINARY)
    }
}

/// Connects a new machine to the bridge and to the pods of the other nodes.
pub(crate) fn connect(node: &Machine, number: usize, around: &Surroundings<'_>) -> Result<()> {
    let (address, pods) = (addresses::node(number), addresses::pods_of(number));
    around.control_plane.script(&format!(
        "ip link add veth{number} type veth peer name eth0 netns {}\n\
         ip link set veth{number} master br0 up\n\
         ip route add {pods} via {address}\n",
        node.inner_pid()
    ))?;
    let mut script = format!(
        "ip address add {address}/24 dev eth0\nip link set eth0 up\nip route add default via {}\n",
        addresses::CONTROL_PLANE
    );
    for other in (1..=around.nodes).filter(|other| *other != number) {
        script.push_str(&format!("ip route add {} via {}\n", addresses::pods_of(other), addresses::node(other)));
    }
    node.script(&script)?;
    let limit = around.options_of(number).rate.map(|rate| rate.limit(&format!("veth{number}")));
    limit.map_or(Ok(String::new()), |limit| around.control_plane.script(&limit)).context("cannot slow a link")?;
    Ok(())
}

/// Gives the machine the files of a node and starts containerd with the sandbox image.
pub(crate) fn start_runtime(node: &Machine, number: usize, around: &Surroundings<'_>, pause: &Path) -> Result<()> {
    node_files::write(node, number, around)?;
    node.script(&node_files::mounts(node, around.options_of(number).in_memory))?;
    node.daemon("containerd", &["containerd", "--config", "/etc/containerd/config.toml"])?;
    wait::until(Duration::from_secs(120), Duration::from_millis(50), "containerd", || {
        node.ok(&["ctr", "version"]).map(|_| true)
    })?;
    import(node, pause)
}

/// Imports an image archive into the namespace that kubelet uses.
pub(crate) fn import(node: &Machine, archive: &Path) -> Result<()> {
    let archive = archive.canonicalize().with_context(|| format!("no image archive {}", archive.display()))?;
    node.ok(&["ctr", "--namespace", "k8s.io", "images", "import", &archive.display().to_string()])?;
    Ok(())
}

/// Starts kubelet and kube-proxy; the API server must be ready.
pub(crate) fn join(node: &Machine, number: usize, around: &Surroundings<'_>) -> Result<()> {
    let home = node.home().display().to_string();
    let authority = around.control_plane.home().join("ca.crt");
    write_kubeconfig(&node.home().join("kubeconfig"), &authority, &node_token(number))?;
    fs::write(node.home().join("kubelet.json"), node_files::kubelet(node, number, around).to_string())
        .context("cannot write the configuration of a kubelet")?;
    let flags = [
        "kubelet".to_owned(),
        format!("--config={home}/kubelet.json"),
        format!("--kubeconfig={home}/kubeconfig"),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", addresses::node(number)),
    ];
    node.daemon("kubelet", &flags)?;
    let flags = [
        "kube-proxy".to_owned(),
        format!("--kubeconfig={}", kubeconfig(around.control_plane).display()),
        format!("--hostname-override={}", node.name()),
        "--proxy-mode=iptables".to_owned(),
        format!("--cluster-cidr={}", addresses::PODS),
        // Both would change, or fail to change, settings of the whole machine.
        "--conntrack-max-per-core=0".to_owned(),
        "--oom-score-adj=0".to_owned(),
    ];
    node.daemon("kube-proxy", &flags)?;
    Ok(())
}
