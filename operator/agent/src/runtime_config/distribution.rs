//! Systems whose runtime is configured elsewhere than in `/etc/containerd/config.toml`, and how.
//!
//! Sources: k3s `pkg/agent/containerd`, RKE2's documentation of the data directory; Talos `machine.registries` (its
//! controller deletes directories it does not know); Bottlerocket `settings.container-registry`; GKE "Customize
//! containerd configuration".

use tidepool_oci::RegistryName;

use super::Place;
use crate::node::NodeFacts;

/// How many registries a snippet spells out: a message has 1,024 characters.
const SPELLED: usize = 6;

/// What the node runs, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// k3s, with a containerd of its own.
    K3s,
    /// RKE2, likewise.
    Rke2,
    /// Talos Linux: machine configuration.
    Talos,
    /// Bottlerocket: settings API.
    Bottlerocket,
    /// Google Kubernetes Engine: node configuration.
    Gke,
    /// Anything else.
    Other,
}

impl Distribution {
    /// Tells by what the kubelet says of the node.
    #[must_use]
    pub fn of(node: &NodeFacts) -> Self {
        let runtime = node.runtime.as_ref().map_or("", |runtime| runtime.version.as_str());
        if node.os_image.starts_with("Talos") {
            Self::Talos
        } else if node.os_image.starts_with("Bottlerocket") {
            Self::Bottlerocket
        } else if node.kubelet.contains("+rke2") {
            Self::Rke2
        } else if node.kubelet.contains("+k3s") || runtime.contains("-k3s") {
            Self::K3s
        } else if node.kubelet.contains("-gke.") || node.labels.contains_key("cloud.google.com/gke-nodepool") {
            Self::Gke
        } else {
            Self::Other
        }
    }

    /// What to put into the system's own configuration, where that alone writes the runtime's files.
    pub(super) fn native(self, port: u16, registries: &[RegistryName]) -> Option<String> {
        let host = format!("http://127.0.0.1:{port}");
        let (what, before, each): (_, _, fn(&RegistryName, &str) -> String) = match self {
            Self::Talos => (
                "Talos writes these files itself; apply this machine configuration patch (talosctl patch machineconfig)",
                "machine: {registries: {mirrors: {\n",
                |registry, host| format!("  {registry}: {{endpoints: [\"{host}\"]}},\n"),
            ),
            Self::Bottlerocket => {
                ("Bottlerocket writes these files itself; put this into the node's user data", "", |registry, host| {
                    format!(
                        "[[settings.container-registry.mirrors]]\nregistry = \"{registry}\"\nendpoint = [\"{host}\"]\n"
                    )
                })
            }
            Self::K3s | Self::Rke2 | Self::Gke | Self::Other => return None,
        };
        let after = if self == Self::Talos { "}}}" } else { "" };
        Some(format!("{what}:\n{before}{}{after}", listed(registries, &host, each)))
    }

    /// What to do on systems whose config.toml is made anew with each node, when it does not read our files.
    pub(super) fn instead(self, port: u16, registries: &[RegistryName]) -> Option<String> {
        if self != Self::Gke {
            return None;
        }
        let each = |registry: &RegistryName, host: &str| {
            format!(
                "- server: https://{registry}\n  hosts: [{{host: \"{host}\", capabilities: [HOST_CAPABILITY_PULL, HOST_CAPABILITY_RESOLVE]}}]\n"
            )
        };
        let hosts = listed(registries, &format!("http://127.0.0.1:{port}"), each);
        Some(format!(
            "this GKE node's containerd reads no hosts.toml files; give its node pool a containerd configuration (gcloud container node-pools update --containerd-config-from-file) with\nregistryHosts:\n{hosts}"
        ))
    }

    /// What to set where the agent looks in the wrong place, since the system's is another.
    pub(super) fn elsewhere(self, place: Place<'_>) -> Option<String> {
        let (name, folder) = match self {
            Self::K3s => ("k3s", "/var/lib/rancher/k3s/agent/etc/containerd"),
            Self::Rke2 => ("RKE2", "/var/lib/rancher/rke2/agent/etc/containerd"),
            Self::Talos | Self::Bottlerocket | Self::Gke | Self::Other => return None,
        };
        // With another data directory the end is the same.
        if place.directory.trim_end_matches('/').ends_with("/agent/etc/containerd/certs.d") {
            return None;
        }
        Some(format!(
            "the containerd of {name} reads another directory than {}: upgrade the chart with --set agent.registryDir={folder}/certs.d --set agent.runtimeConfigDir={folder} (with another data directory, the same below it)",
            place.directory
        ))
    }
}

fn listed(registries: &[RegistryName], host: &str, each: impl Fn(&RegistryName, &str) -> String) -> String {
    let mut text: String = registries.iter().take(SPELLED).map(|registry| each(registry, host)).collect();
    if registries.len() > SPELLED {
        text.push_str(&format!("# and {} more alike\n", registries.len() - SPELLED));
    }
    text
}
