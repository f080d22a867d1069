//! Cluster harness, stand-in registries and suites of Tidepool.
//!
//! [`Cluster::start`] boots a real Kubernetes in namespaces of this machine in about ten seconds: etcd, API server,
//! controller manager, scheduler, CoreDNS, and any number of nodes with containerd, kubelet and kube-proxy of their own.
//! Beside it [`StandIn`] registries listen under the names of Docker Hub and ghcr.io, with TLS and token servers, which
//! nodes and pods trust and find as they would the real ones. Stand-ins may have users and private repositories, ask for
//! client certificates, or be reached through an [`Egress`] proxy alone. Nothing has a way out of the machine.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidepool_tests::{Cluster, ClusterOptions, ImageSpec};
//!
//! # fn main() -> anyhow::Result<()> {
//! // `None` and one line that begins with `SKIPPED: ` where no cluster can run.
//! let Some(cluster) = Cluster::for_suite(ClusterOptions { nodes: 2, ..Default::default() })? else { return Ok(()) };
//!
//! // An image that Docker Hub has: a root file system and layers of 8 and 1 MiB.
//! let hub = cluster.registry("docker.io")?;
//! let image = hub.push(&ImageSpec::new("library/app", "1").layers(&[8, 1]).index())?;
//!
//! // Tidepool, from an archive that every node imports.
//! cluster.import_image("target/tidepool-image.tar".as_ref())?;
//! let chart = tidepool_tests::repository().join("charts/tidepool").display().to_string();
//! cluster.helm(&["install", "tidepool", &chart, "-n", "tidepool-system", "--create-namespace", "--wait"])?;
//! cluster.apply("{apiVersion: tidepool.dev/v1alpha1, kind: RegistryMirror, metadata: {name: public}, ...}")?;
//! cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror/public", "--timeout=60s"])?;
//!
//! // What a piece of the test asked of Docker Hub.
//! let ((), requests) = hub.requests_during(|| cluster.run_pod("app", 1, "app:1", Duration::from_secs(60)))?;
//! for layer in &image.layers {
//!     let asked = requests.iter().filter(|request| request.served() && request.reference() == layer.digest);
//!     assert_eq!(asked.count(), 1);
//! }
//!
//! // Docker Hub is gone: connections are refused from here on. Node 2 pulls all the same.
//! hub.off()?;
//! cluster.pull(2, "docker.io/library/app:1")?;
//! cluster.wait_until(Duration::from_secs(20), "mirror file on node2", || {
//!     Ok(cluster.certs_d(2)?.join("docker.io/hosts.toml").exists())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! **Nodes that differ** have an older containerd, another registry configuration or a slow link: [`NodeOptions`].
//!
//! **Clean-up.** A cluster lives in one pid namespace. A guard process outside holds a pipe from the owner; when the
//! owner is gone, by SIGKILL too, it kills that namespace's init, and with it every process, mount and interface, and
//! removes control groups and the state folder. Should guard and owner both be killed, the next start sweeps.
//! **Side by side.** No two clusters share a namespace, so any number runs at once, all with the same addresses.
//! **The host** gets a folder below `/tmp` and control groups, both named after the cluster, and nothing else: nodes have
//! `/etc`, `/run`, `/var/lib` and kubelet's sysctls of their own.
//! **From outside.** [`Cluster::start_ingress_controller`] runs Skipper, and [`Cluster::client`] is a machine that pulls
//! by podman through it.
//! **Who did what.** [`Cluster::audit`] reads the API server's audit log, [`Registry::log`] what a stand-in was asked,
//! [`Cluster::passages`] what went through the egress proxy.
//! **What was so for a moment** only is in a [`Cluster::watch`], however seldom and slowly a test looks.
//! **In the place of a pod** programs of this machine run by [`Cluster::try_in_pod_network`], since images of tests hold
//! busybox alone.
//! **Elsewhere.** With `$KUBECONFIG` set, [`Cluster::for_suite`] uses that cluster by `kubectl` and `helm` alone; a test
//! that needs nodes or stand-ins asks [`Cluster::has_nodes`] first.
//!
//! **Faults** are applied to programs, packets, connections and daemons of the nodes, and taken back when the
//! [`Disturbance`] goes: [`Cluster::kill_in_pods`], [`Cluster::drop_packets`], [`Cluster::relay`] and their neighbours.
//! [`matrix`] says what the fault matrix promises of each.
//!
//! **Without a cluster** suites put a [`FaultProxy`] between Tidepool and a real registry: connections that are cut, reset,
//! stalled, slow, or lie, and a record of what was asked and sent. [`product`] builds the program that they test.
//!
//! At a prompt, `tidepool-cluster up` starts the same cluster and says how to talk to it.

mod addresses;
mod certificates;
mod cgroups;
pub mod cli;
mod cluster;
mod demo;
mod fault_proxy;
mod guard;
mod image;
mod kubernetes;
mod machine;
pub mod matrix;
mod pace;
mod process;
mod registry;
mod relay;
mod stand_in;
mod state;
mod tools;
mod wait;

pub use certificates::{Authority, Certificate, Role};
pub use cluster::{AuditEvent, Client, Cluster, ClusterOptions, Disturbance, Pods, StartError, Watch};
pub use fault_proxy::{Exchange, Fault, FaultProxy, Times};
pub use image::{Blob, Image, ImageSpec};
pub use kubernetes::node_options::{Containerd, NodeOptions, Rate};
pub use machine::Output;
pub use pace::Pace;
pub use registry::Registry;
pub use relay::Act;
pub use stand_in::{Egress, Passage, Request, StandIn, TokenServer, User};
pub use tools::{peer, product, repository};
pub use wait::until;
