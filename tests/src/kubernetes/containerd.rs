//! containerd's configuration, as a distribution sets it up, with the CNI plugins at hand.

use std::path::Path;

use super::node_options::{Containerd, NodeOptions};
use crate::image::PAUSE;
use crate::machine::Machine;

/// Registry mirrors at the default place, as either version spells it.
const REGISTRY: &str = "    config_path = \"/etc/containerd/certs.d\"\n";

/// `config.toml` of a node; `tools` holds the CNI plugins.
pub(crate) fn config(node: &Machine, options: &NodeOptions, tools: &Path) -> String {
    let (home, tools) = (node.home().display().to_string(), tools.display().to_string());
    let (text, table) = match options.containerd {
        Containerd::V2_4 => (newer(&home, &tools), r#"plugins."io.containerd.cri.v1.images".registry"#),
        Containerd::V1_7 => (older(&home, &tools), r#"plugins."io.containerd.grpc.v1.cri".registry"#),
    };
    // At the end, for what takes its place may hold tables of its own.
    let registry = options.registry_config.clone().unwrap_or_else(|| format!("[{table}]\n{REGISTRY}"));
    text + &registry
}

/// The third version of the format, of containerd 2.
fn newer(home: &str, tools: &str) -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd/state"
# Snapshotters that would only log that this machine cannot run them.
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  # A test machine may lack the capability that low scores need.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{tools}"]
    conf_dir = "{home}/cni"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"#
    )
}

/// The second version of the format, of containerd 1.
fn older(home: &str, tools: &str) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd/state"
# Snapshotters that would only log that this machine cannot run them.
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  # A test machine may lack the capability that low scores need.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{tools}"
    conf_dir = "{home}/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"#
    )
}
