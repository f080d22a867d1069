//! What a test does on the nodes; they count from 1.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Cluster;
use crate::kubernetes::node;
use crate::machine::{COMMAND_WITHIN, Machine, Output};

impl Cluster {
    /// How many nodes there are.
    pub fn node_count(&self) -> Result<usize> {
        Ok(self.local()?.state.nodes.len())
    }

    /// Runs a command as root on a node, which must succeed, and gives its standard output.
    pub fn in_node(&self, number: usize, command: &[&str]) -> Result<String> {
        self.try_in_node(number, command)?.ok()
    }

    /// Runs a command as root on a node, whether it succeeds or not.
    pub fn try_in_node(&self, number: usize, command: &[&str]) -> Result<Output> {
        self.local()?.node(number)?.run(command, "", COMMAND_WITHIN)
    }

    /// Pulls an image as kubelet would, by the node's containerd.
    pub fn pull(&self, number: usize, image: &str) -> Result<Output> {
        self.local()?.node(number)?.run(&["crictl", "pull", image], "", Duration::from_secs(180))
    }

    /// Makes a node forget an image, contents included, so that the next pull fetches all of it.
    ///
    /// The runtime collects contents at once here, since containerd's own schedule is no business of tests.
    pub fn remove_image(&self, number: usize, image: &str) -> Result<()> {
        let machine = self.local()?.node(number)?;
        machine.ok(&["ctr", "--namespace", "k8s.io", "images", "rm", "--sync", image])?;
        Ok(())
    }

    /// Imports an image archive into every node.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let nodes = &self.local()?.state.nodes;
        nodes.iter().try_for_each(|machine| node::import(machine, archive))
    }

    /// A node's own folder of registry mirror files, as a path on this machine: `/etc/containerd/certs.d` there.
    pub fn certs_d(&self, number: usize) -> Result<PathBuf> {
        Ok(self.local()?.node(number)?.home().join("etc/containerd/certs.d"))
    }

    /// A node's own `/var/lib/tidepool`, as a path on this machine.
    pub fn var_lib_tidepool(&self, number: usize) -> Result<PathBuf> {
        Ok(self.local()?.node(number)?.home().join("var/lib/tidepool"))
    }

    /// A command on a machine, `cp`, `node1` and so on, with the terminal of this process.
    pub fn interactive_on<S: AsRef<OsStr>>(&self, machine: &str, command: &[S]) -> Result<Command> {
        let state = &self.local()?.state;
        let mut machines = std::iter::once(&state.control_plane).chain(&state.nodes);
        let found: Option<&Machine> = machines.find(|known| known.name() == machine);
        let found = found.with_context(|| format!("there is no machine {machine}: try cp or node1"))?;
        Ok(found.command(Path::new("/"), command))
    }
}
