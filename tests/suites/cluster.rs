//! The cluster suite: Tidepool as a user has it, on a real Kubernetes.
//!
//! Each test boots a cluster of its own (nodes are namespaces of this machine), installs the chart with Helm, applies a
//! RegistryMirror and looks at what users and upstreams see. `$IMAGE_ARCHIVE` is the image that `make image` wrote.
//! With `$KUBECONFIG` the tests that need no nodes of ours run on that cluster.

#![cfg(test)]

#[path = "cluster/installed.rs"]
mod installed;

#[path = "cluster/disturbance.rs"]
mod disturbance;
#[path = "cluster/pull.rs"]
mod pull;
#[path = "cluster/removal.rs"]
mod removal;
#[path = "cluster/resource.rs"]
mod resource;
#[path = "cluster/spec.rs"]
mod spec;
#[path = "cluster/upgrade.rs"]
mod upgrade;
