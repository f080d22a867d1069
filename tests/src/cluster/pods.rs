//! What a test does in the place of a pod, with the programs of this machine.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::Cluster;
use crate::machine::{COMMAND_WITHIN, Output};

impl Cluster {
    /// Runs a command with a pod's network, as the pod would ask, whether it succeeds or not.
    ///
    /// Images of tests hold no TLS client, and need none this way: `curl` and `openssl` are those of this machine.
    pub fn try_in_pod_network(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<Output> {
        let (number, process) = self.pod_process(namespace, pod)?;
        let enter = ["nsenter", "-t", &process, "-n", "--"];
        self.local()?.node(number)?.run(&[&enter, command].concat(), "", COMMAND_WITHIN)
    }

    /// Starts a server with a pod's network that lasts as long as the cluster; what it prints is in `<node>/<name>.log`.
    pub fn serve_in_pod_network(&self, namespace: &str, pod: &str, name: &str, command: &[&str]) -> Result<()> {
        let (number, process) = self.pod_process(namespace, pod)?;
        let enter = ["nsenter", "-t", &process, "-n", "--"];
        self.local()?.node(number)?.daemon(name, &[&enter, command].concat())?;
        Ok(())
    }

    /// The node that a running pod is on, and the number of a process in it.
    fn pod_process(&self, namespace: &str, pod: &str) -> Result<(usize, String)> {
        let node = self.kubectl(&["get", "pod", "-n", namespace, pod, "-o", "jsonpath={.spec.nodeName}"])?;
        let number: usize = node.trim_start_matches("node").parse().with_context(|| format!("{pod} is on no node"))?;
        let find =
            ["crictl", "pods", "--quiet", "--state=ready", "--namespace", namespace, "--name", &format!("^{pod}$")];
        let sandbox = self.in_node(number, &find)?;
        let inspect = ["crictl", "inspectp", "-o", "go-template", "--template", "{{.info.pid}}", sandbox.trim()];
        Ok((number, self.in_node(number, &inspect)?.trim().to_owned()))
    }

    /// A pod's address.
    pub fn pod_address(&self, namespace: &str, pod: &str) -> Result<String> {
        self.kubectl(&["get", "pod", "-n", namespace, pod, "-o", "jsonpath={.status.podIP}"])
    }

    /// Plays the resizer of a storage driver: claims that ask for more than they have get it, volume and all.
    pub fn resize_claims(&self, namespace: &str) -> Result<()> {
        let claims = self.kubectl_json(&["get", "persistentvolumeclaims", "-n", namespace])?;
        for claim in claims["items"].as_array().into_iter().flatten() {
            let (wanted, has) =
                (&claim["spec"]["resources"]["requests"]["storage"], &claim["status"]["capacity"]["storage"]);
            if wanted == has || claim["status"]["phase"] != "Bound" {
                continue;
            }
            let volume = claim["spec"]["volumeName"].as_str().context("a bound claim has no volume")?;
            let capacity = json!({"capacity": {"storage": wanted}});
            let of_volume = json!({"spec": capacity}).to_string();
            self.kubectl(&["patch", "persistentvolume", volume, "-p", &of_volume])?;
            let name = claim["metadata"]["name"].as_str().context("a claim has no name")?;
            let of_claim = json!({"status": capacity}).to_string();
            let target = ["patch", "persistentvolumeclaim", "-n", namespace, name, "--subresource=status"];
            self.kubectl(&[&target[..], &["-p", &of_claim]].concat())?;
        }
        Ok(())
    }

    /// Waits until a command in a pod's network succeeds.
    pub fn await_in_pod_network(&self, namespace: &str, pod: &str, command: &[&str], within: Duration) -> Result<()> {
        self.wait_until(within, &format!("success of {} in {pod}", command.join(" ")), || {
            Ok(self.try_in_pod_network(namespace, pod, command)?.success)
        })
    }
}
