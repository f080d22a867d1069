//! Nodes that are there for the API server alone, kept by kwok; and a place in the cluster's network for what speaks for them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::Cluster;
use crate::addresses;
use crate::kubernetes::control_plane;

/// kwok's answer to a Node without a heartbeat, and to a pod on such a Node.
const STAGES: &str = include_str!("../kubernetes/stages.yaml");
/// The label and the taint of simulated nodes.
const SIMULATED: &str = "tidepool.dev/simulated";
/// The lease is renewed after a quarter of this: before anybody misses it, and no sooner.
const LEASE_SECONDS: &str = "140";

impl Cluster {
    /// Adds nodes without a kubelet, `simulated-0` and so on, which are ready and take no pod that does not tolerate them;
    /// one that does is ready at once, and runs nothing.
    pub fn simulate_nodes(&self, count: usize) -> Result<()> {
        let control_plane = &self.local()?.state.control_plane;
        let stages = control_plane.home().join("stages.yaml");
        fs::write(&stages, STAGES).context("cannot write the stages of simulated nodes")?;
        let kubeconfig = format!("--kubeconfig={}", control_plane::kubeconfig(control_plane).display());
        let (stages, lease) =
            (format!("--config={}", stages.display()), format!("--node-lease-duration-seconds={LEASE_SECONDS}"));
        let managed = format!("--manage-nodes-with-label-selector={SIMULATED}=true");
        let flags = ["kwok", &kubeconfig, &stages, &lease, "--manage-all-nodes=false", &managed, "--server-address="];
        control_plane.daemon("kwok", &flags)?;
        let nodes: Vec<Value> = (0..count).map(node).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": nodes});
        self.try_kubectl_with(&["create", "-f", "-"], &list.to_string())?.ok()?;
        let selector = format!("{SIMULATED}=true");
        let ready = r#"jsonpath={range .items[*].status.conditions[?(@.type=="Ready")]}{.status} {end}"#;
        self.wait_until(Duration::from_secs(240), "simulated nodes", || {
            let states = self.kubectl(&["get", "nodes", "-l", &selector, "-o", ready])?;
            Ok(states.split_whitespace().filter(|state| *state == "True").count() == count)
        })
    }

    /// A runtime in the control plane's network, where the API server is in reach of what is spawned on it.
    pub fn runtime(&self) -> Result<Runtime> {
        let network = self.local()?.state.control_plane.network()?;
        let enter = move |network: &File| move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
        let probe = network.try_clone().context("cannot name a network twice")?;
        let entered = std::thread::spawn(move || enter(&probe)).join().map_err(|_| anyhow!("a thread panicked"))?;
        entered.context("cannot enter the control plane's network")?;
        let mut builder = Builder::new_multi_thread();
        // One thread could, so the others can.
        builder.worker_threads(2).on_thread_start(move || _ = enter(&network)).enable_all();
        builder.build().context("cannot start a runtime")
    }

    /// The API server's address and the file of its authority, for clients on [`Cluster::runtime`].
    pub fn api_server(&self) -> Result<(&'static str, String)> {
        let authority = self.local()?.state.control_plane.home().join("ca.crt");
        Ok((addresses::API_SERVER, authority.display().to_string()))
    }
}

fn node(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": format!("simulated-{number}"),
            "labels": {SIMULATED: "true", "kubernetes.io/os": "linux"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": SIMULATED, "value": "true", "effect": "NoSchedule"}]},
        "status": {"nodeInfo": {
            "containerRuntimeVersion": "containerd://2.4.2", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
            "architecture": "amd64", "operatingSystem": "linux", "osImage": "", "kernelVersion": "",
            "bootID": "", "machineID": "", "systemUUID": "",
        }},
    })
}
