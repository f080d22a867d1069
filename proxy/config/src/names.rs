//! Fixed names and ports (design, "Words"), so that every part, the chart and people can rely on them.

/// Port of the agent's loopback listener on each node.
///
/// Below 1024, so that no unprivileged process can squat it while the agent is away.
pub const AGENT_PORT: u16 = 909;
/// A member's port for clients: the registry API.
pub const MEMBER_PORT: u16 = 5000;
/// Name of [`MEMBER_PORT`] on pods, Services and EndpointSlices.
pub const MEMBER_PORT_NAME: &str = "registry";
/// A member's port for agents: the registry API by mutual TLS.
pub const AGENTS_PORT: u16 = 5443;
/// Name of [`AGENTS_PORT`] on pods, Services and EndpointSlices.
pub const AGENTS_PORT_NAME: &str = "agents";
/// A member's admin port: metrics, health and state.
pub const ADMIN_PORT: u16 = 8080;
/// Path of the member's [`crate::ProxyState`] on its admin port.
pub const STATE_PATH: &str = "/state";
/// Path on the admin port by which an administrator takes content out of the store.
pub const PURGE_PATH: &str = "/purge";
/// The ConfigMap that agents watch, in their own namespace.
pub const NODES_CONFIG_MAP: &str = "tidepool-nodes";
/// The key of [`NODES_CONFIG_MAP`] that holds the [`crate::NodesDocument`], as JSON.
pub const NODES_KEY: &str = "nodes.json";
/// The label on every object of a mirror, with the mirror's name as value; agents find EndpointSlices by it.
pub const MIRROR_LABEL: &str = "tidepool.dev/mirror";
/// The registry of the images of probe pods, which agents alone answer for: no name ends in `.invalid` (RFC 2606).
pub const PROBE_REGISTRY: &str = "probe.tidepool.invalid";
/// A node with this label set to `true` is left alone.
pub const EXCLUDE_LABEL: &str = "tidepool.dev/exclude";
