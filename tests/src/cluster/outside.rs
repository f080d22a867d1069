//! What lies outside the cluster's nodes: an ingress controller, and a machine that pulls through it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Cluster;
use crate::addresses;
use crate::kubernetes::{client, control_plane};
use crate::machine::{COMMAND_WITHIN, Machine, Output};
use crate::stand_in;

/// How long a pull may take.
const PULL_WITHIN: Duration = Duration::from_secs(180);

/// A machine on the bridge that is no node: it knows the hosts of Ingresses and trusts the stand-ins' authority.
#[derive(Debug)]
pub struct Client {
    machine: Machine,
}

impl Cluster {
    /// Starts Skipper as ingress controller of every class, with TLS from the Ingresses' Secrets.
    pub fn start_ingress_controller(&self) -> Result<()> {
        let control_plane = &self.local()?.state.control_plane;
        let config = format!("--kubeconfig={}", control_plane::kubeconfig(control_plane).display());
        control_plane.daemon("ingress-api", &["kubectl", &config, "proxy", "--port=8001"])?;
        let address = format!("-address={}:443", addresses::INGRESS);
        let flags = [
            "skipper",
            &address,
            "-kubernetes",
            "-kubernetes-in-cluster=false",
            "-kubernetes-ingress-class=.*",
            "-kubernetes-url=http://127.0.0.1:8001",
            "-kubernetes-enable-tls",
            "-kubernetes-https-redirect=false",
            "-enable-kubernetes-endpointslices",
            // A mirror tells upstreams apart by it.
            "-proxy-preserve-host",
            "-source-poll-timeout=500",
            "-support-listener=127.0.0.1:9911",
            "-metrics-listener=",
        ];
        control_plane.daemon("ingress", &flags)?;
        stand_in::await_listening(control_plane, "ingress controller", &[(addresses::INGRESS, 443)])
    }

    /// A machine on which these names lead to the ingress controller. There can be but one.
    pub fn client(&self, hosts: &[&str]) -> Result<Client> {
        let local = self.local()?;
        let machine = local.state.control_plane.beside("client", local.folder.join("client"))?;
        client::settle(&local.state.control_plane, &machine, hosts, &self.authority()?)?;
        Ok(Client { machine })
    }
}

impl Client {
    /// Runs a command, whether it succeeds or not.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        self.machine.run(command, "", COMMAND_WITHIN)
    }

    /// Pulls an image by podman into a storage that is empty before and after, logged in as `user:password` if given.
    pub fn pull(&self, image: &str, login: Option<&str>) -> Result<Output> {
        let home = self.machine.home();
        let (root, run) = (home.join("podman"), home.join("podman-run"));
        let policy = client::policy(&self.machine).display().to_string();
        let (root_text, run_text) = (root.display().to_string(), run.display().to_string());
        let mut command = vec!["podman", "--storage-driver=vfs", "--root", &root_text, "--runroot", &run_text];
        command.extend(["pull", "--quiet", "--signature-policy", &policy]);
        command.extend(login.map(|login| ["--creds", login]).into_iter().flatten());
        command.push(image);
        let output = self.machine.run(&command, "", PULL_WITHIN);
        for folder in [&root, &run] {
            remove(folder)?;
        }
        output
    }

    /// A file of its home, written for a command.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.machine.home().join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

fn remove(folder: &PathBuf) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("cannot empty podman's storage")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
