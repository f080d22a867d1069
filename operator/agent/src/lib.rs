//! The Tidepool node agent: writes the runtime's mirror configuration on its node, and forwards pulls on loopback.
//!
//! Pure, without IO: [`wanted`], [`hosts_toml`], [`registries_conf`], [`placement`], [`rendezvous`], [`runtime_config`]
//! but for its `read`, [`probe_image`], [`states`], `report::status`.
//! One module writes the runtime's files: [`files`]; [`last`] keeps what is known, `identity` keeps keys in memory. One
//! serves pulls: [`forward`]. [`controller`] decides, [`run`] wires, [`supervise`] keeps all that alive from a process of
//! its own.
//!
//! What the agent needs of the API server, and no more (design N7, N8), with its ServiceAccount in its namespace:
//!
//! | where | resource | verbs |
//! |---|---|---|
//! | its namespace | `configmaps`, resourceName `tidepool-nodes` | list, watch |
//! | its namespace | `secrets`, resourceName `tidepool-agent-identity` | list, watch |
//! | its namespace | `daemonsets.apps`, resourceName its own | get |
//! | its namespace | `namespaces`, resourceName itself | get |
//! | the mirrors' namespace | `endpointslices.discovery.k8s.io` | list, watch |
//! | cluster | `nodes` | list, watch (asked by `metadata.name`) |
//! | cluster | `mirrornodes.tidepool.dev` | get |
//! | cluster | `mirrornodes.tidepool.dev/status` | patch (an admission policy: of its own node) |
//!
//! On the node: host network, uid 0, all capabilities dropped but NET_BIND_SERVICE, a read-only root, and the mounts
//! that [`args::RunArgs`] names.

pub mod args;
mod aside;
pub mod controller;
pub mod files;
pub mod forward;
pub mod health;
pub mod honored;
pub mod hosts_toml;
pub mod identity;
pub mod last;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod node_files;
pub mod placement;
pub mod probe;
pub mod probe_image;
pub mod registries_conf;
pub mod rendezvous;
pub mod report;
pub mod run;
pub mod runtime_config;
pub mod states;
pub mod supervise;
#[cfg(test)]
#[path = "../tests/testing/mod.rs"]
mod testing;
pub mod uninstall;
pub mod wanted;
pub mod watch;
pub mod withdraw;
