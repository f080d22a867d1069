//! Addresses of a cluster. Every cluster has the same ones, since no two share a network namespace.

/// The control plane on the bridge: API server, cluster DNS and the nodes' default route.
pub(crate) const CONTROL_PLANE: &str = "10.236.0.1";
/// Where the API server listens.
pub(crate) const API_SERVER: &str = "https://10.236.0.1:6443";
/// The API server as a service, the first address of [`SERVICES`].
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// The way out of the cluster, where there is one.
pub(crate) const EGRESS: &str = "10.236.0.250";
/// Its port.
pub(crate) const EGRESS_PORT: u16 = 3128;
/// The ingress controller.
pub(crate) const INGRESS: &str = "10.236.0.251";
/// A machine on the bridge that is no node.
pub(crate) const CLIENT: &str = "10.236.0.252";
/// ClusterIPs.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// Pods of all nodes.
pub(crate) const PODS: &str = "10.237.0.0/16";
/// The bridge lies in a /24, whose addresses from 11 on are nodes.
pub(crate) const MAX_NODES: usize = 200;

/// A node on the bridge; nodes count from 1.
pub(crate) fn node(number: usize) -> String {
    format!("10.236.0.{}", 10 + number)
}

/// A stand-in registry on the bridge; they count from 0.
pub(crate) fn stand_in(index: usize) -> String {
    format!("10.236.0.{}", 2 + index)
}

/// The pods of a node; nodes count from 1.
pub(crate) fn pods_of(number: usize) -> String {
    format!("10.237.{number}.0/24")
}
