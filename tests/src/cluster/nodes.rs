//! What a test does on the nodes; they count from 1.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Cluster;
use crate::addresses;
use crate::kubernetes::node;
use crate::machine::{COMMAND_WITHIN, Output};

/// How long a pull may take: a mirror that does not answer must show as a failure, not as a hang.
const PULL_WITHIN: Duration = Duration::from_secs(180);

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

    /// Pulls an image as kubelet does, by the node's containerd; fails if that does.
    pub fn pull(&self, number: usize, image: &str) -> Result<()> {
        self.try_pull(number, image)?.ok()?;
        Ok(())
    }

    /// Pulls an image, whether that succeeds or not.
    pub fn try_pull(&self, number: usize, image: &str) -> Result<Output> {
        self.local()?.node(number)?.run(&["crictl", "pull", image], "", PULL_WITHIN)
    }

    /// Pulls an image, whether that succeeds or not; one that takes longer than `within` is given up.
    pub fn try_pull_within(&self, number: usize, image: &str, within: Duration) -> Result<Output> {
        self.local()?.node(number)?.run(&["crictl", "pull", image], "", within)
    }

    /// The address by which others know a node.
    pub fn node_address(&self, number: usize) -> String {
        addresses::node(number)
    }

    /// How many bytes a node has received from others since it booted.
    pub fn received(&self, number: usize) -> Result<u64> {
        let interfaces = self.in_node(number, &["cat", "/proc/net/dev"])?;
        let line = interfaces.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
        let bytes = line.and_then(|line| line.split_whitespace().next());
        bytes.context("the node has no network interface")?.parse().context("what it received is no number")
    }

    /// Makes a node forget an image under all its names, so that the next pull fetches every blob of it.
    ///
    /// containerd collects the contents before it answers. An image that a container still uses stays.
    pub fn remove_image(&self, number: usize, image: &str) -> Result<()> {
        self.in_node(number, &["crictl", "rmi", image])?;
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
        Ok(self.machine(machine)?.command(Path::new("/"), command))
    }
}
