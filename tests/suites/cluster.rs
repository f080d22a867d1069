//! The cluster suite: Tidepool as a user has it, on a real Kubernetes.
//!
//! Each test boots a cluster of its own (nodes are namespaces of this machine), installs the chart with Helm, applies a
//! RegistryMirror and looks at what users and upstreams see. `$IMAGE_ARCHIVE` is the image that `make image` wrote.
//! With `$KUBECONFIG` the tests that need no nodes of ours run on that cluster.

#![cfg(test)]

#[path = "cluster/installed.rs"]
mod installed;
#[path = "cluster/member_state.rs"]
mod member_state;
#[path = "cluster/members.rs"]
mod members;
#[path = "cluster/members_ephemeral.rs"]
mod members_ephemeral;
#[path = "cluster/node_state.rs"]
mod node_state;
#[path = "cluster/pull_loop.rs"]
mod pull_loop;
#[path = "cluster/quiet.rs"]
mod quiet;

#[path = "cluster/absence.rs"]
mod absence;
#[path = "cluster/claims.rs"]
mod claims;
#[path = "cluster/credentials.rs"]
mod credentials;
#[path = "cluster/egress.rs"]
mod egress;
#[path = "cluster/handover.rs"]
mod handover;
#[path = "cluster/idle.rs"]
mod idle;
#[path = "cluster/impostor.rs"]
mod impostor;
#[path = "cluster/ingress.rs"]
mod ingress;
#[path = "cluster/leader.rs"]
mod leader;
#[path = "cluster/least_privilege.rs"]
mod least_privilege;
#[path = "cluster/life.rs"]
mod life;
#[path = "cluster/proof.rs"]
mod proof;
#[path = "cluster/pull.rs"]
mod pull;
#[path = "cluster/reboots.rs"]
mod reboots;
#[path = "cluster/removal.rs"]
mod removal;
#[path = "cluster/resource.rs"]
mod resource;
#[path = "cluster/rights.rs"]
mod rights;
#[path = "cluster/rollout.rs"]
mod rollout;
#[path = "cluster/rotation.rs"]
mod rotation;
#[path = "cluster/scale.rs"]
mod scale;
#[path = "cluster/spec.rs"]
mod spec;
#[path = "cluster/trust.rs"]
mod trust;
#[path = "cluster/upgrade.rs"]
mod upgrade;
