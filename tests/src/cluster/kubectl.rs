//! What a test does through the API server: `kubectl` and `helm`.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Access, Cluster};
use crate::kubernetes::control_plane;
use crate::machine::{self, COMMAND_WITHIN, Machine, Output};

impl Cluster {
    /// Runs `kubectl` with these arguments, which must succeed, and gives its standard output.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.try_kubectl(args)?.ok()
    }

    /// Runs `kubectl` with these arguments, whether it succeeds or not.
    pub fn try_kubectl(&self, args: &[&str]) -> Result<Output> {
        self.run_client("kubectl", args, "", COMMAND_WITHIN)
    }

    /// Runs `kubectl` with these arguments and this input, whether it succeeds or not.
    pub fn try_kubectl_with(&self, args: &[&str], input: &str) -> Result<Output> {
        self.run_client("kubectl", args, input, COMMAND_WITHIN)
    }

    /// Runs `kubectl ... -o json` and parses what it prints.
    pub fn kubectl_json(&self, args: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("no JSON from kubectl {}", args.join(" ")))
    }

    /// Applies manifests given as text, YAML or JSON.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.try_apply(manifests)?.ok()
    }

    /// Applies manifests that the API server may refuse.
    pub fn try_apply(&self, manifests: &str) -> Result<Output> {
        self.try_kubectl_with(&["apply", "-f", "-"], manifests)
    }

    /// Runs `helm` with these arguments, which must succeed. `--wait` may take five minutes.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        self.run_client("helm", args, "", Duration::from_secs(300))?.ok()
    }

    /// Starts a pod on one node, always asking for its image, and returns at once.
    pub fn start_pod(&self, name: &str, node: usize, image: &str) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeName": format!("node{node}"),
                "terminationGracePeriodSeconds": 2,
                "containers": [{"name": "main", "image": image, "imagePullPolicy": "Always"}],
            },
        });
        self.apply(&pod.to_string())?;
        Ok(())
    }

    /// Starts a pod on one node and waits until it runs.
    pub fn run_pod(&self, name: &str, node: usize, image: &str, within: Duration) -> Result<()> {
        self.start_pod(name, node, image)?;
        self.wait_until(within, &format!("running pod {name}"), || {
            Ok(self.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.phase}"])? == "Running")
        })
    }

    /// A command of the cluster's administrator with the terminal of this process: `kubectl`, `helm`, `crane`.
    pub fn interactive<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Result<Command> {
        let local = self.local()?;
        let control_plane = &local.state.control_plane;
        let mut full = vec!["env".into(), kubeconfig_variable(control_plane), program.into()];
        full.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        let inside = std::env::current_dir().context("cannot find the current folder")?;
        Ok(control_plane.command(&inside, &full))
    }

    fn run_client(&self, program: &str, args: &[&str], input: &str, within: Duration) -> Result<Output> {
        match &self.access {
            Access::Local(local) => {
                let control_plane = &local.state.control_plane;
                let variable = kubeconfig_variable(control_plane);
                let mut full: Vec<&OsStr> = vec![OsStr::new("env"), &variable, OsStr::new(program)];
                full.extend(args.iter().map(OsStr::new));
                control_plane.run(&full, input, within)
            }
            Access::External { kubeconfig } => {
                let mut command = Command::new("timeout");
                command.arg(within.as_secs().to_string()).arg(program).args(args).env("KUBECONFIG", kubeconfig);
                machine::capture(command, &format!("{program} {}", args.join(" ")), input)
            }
        }
    }
}

fn kubeconfig_variable(control_plane: &Machine) -> OsString {
    let mut variable = OsString::from("KUBECONFIG=");
    variable.push(control_plane::kubeconfig(control_plane));
    variable
}
