//! What a test takes away and gives back: a node's power, and the API server.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Cluster;
use crate::kubernetes::control_plane;
use crate::machine::Machine;
use crate::wait;

/// A node's daemons, in the order in which they start.
const DAEMONS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];
const API_SERVER: &str = "apiserver";
/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(180);

impl Cluster {
    /// Cuts a node's power and gives it back: daemons, shims and containers end by SIGKILL at once, memory file systems
    /// are emptied, and the daemons start again. Returns when containerd answers; the rest is up to kubelet.
    pub fn reboot(&self, number: usize) -> Result<()> {
        let node = self.local()?.node(number)?;
        let commands: Vec<Vec<String>> =
            DAEMONS.iter().map(|name| command_line(node, name)).collect::<Result<_>>().context("what a node runs")?;
        node.script(&power_cut(node)).context("cannot cut a node's power")?;
        for (name, command) in DAEMONS.iter().zip(&commands) {
            node.daemon(name, command)?;
            if *name == "containerd" {
                wait::until(START, Duration::from_millis(100), "containerd after a reboot", || {
                    node.ok(&["ctr", "version"]).map(|_| true)
                })?;
            }
        }
        Ok(())
    }

    /// Runs a piece of the test while there is no API server: connections are refused.
    pub fn without_api_server<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        let machine = &self.local()?.state.control_plane;
        let command = command_line(machine, API_SERVER)?;
        machine.script(&format!("kill -9 {}\n", number_of(machine, API_SERVER)?))?;
        let result = act();
        machine.daemon(API_SERVER, &command)?;
        let config = format!("--kubeconfig={}", control_plane::kubeconfig(machine).display());
        wait::until(START, Duration::from_millis(200), "API server that is back", || {
            machine.ok(&["kubectl", &config, "get", "--raw", "/readyz"]).map(|answer| answer == "ok")
        })?;
        Ok(result)
    }
}

/// The number, inside the cluster, of a daemon that a machine started.
fn number_of(machine: &Machine, daemon: &str) -> Result<String> {
    let file = machine.home().join(format!("{daemon}.pid"));
    std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn command_line(machine: &Machine, daemon: &str) -> Result<Vec<String>> {
    let number = number_of(machine, daemon)?;
    let text = machine.ok(&["cat", &format!("/proc/{number}/cmdline")])?;
    Ok(text.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
}

/// The script that leaves of a node what its disk holds.
fn power_cut(node: &Machine) -> String {
    let home = node.home().display();
    format!(
        r#"tasks=$(ctr --namespace k8s.io tasks ls | awk 'NR > 1 {{ print $2 }}')
shims=
here=$(readlink /proc/self/ns/mnt)
for process in /proc/[0-9]*; do
  case $(cat $process/comm 2>/dev/null) in containerd-shim*) ;; *) continue ;; esac
  [ "$(readlink $process/ns/mnt)" = "$here" ] && shims="$shims ${{process#/proc/}}"
done
kill -9 $(cat {home}/kubelet.pid) $(cat {home}/kube-proxy.pid) $(cat {home}/containerd.pid) $shims $tasks || :
alive() {{
  for one in $tasks; do grep -qs '^State:.[^Z]' /proc/$one/status && return 0; done
  return 1
}}
while alive; do sleep 0.05; done
awk '$5 ~ "^/run/|^/var/lib/kubelet/" {{ print $5 }}' /proc/self/mountinfo | sort -r | while read -r mount; do umount -l "$mount"; done
umount -l /run
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/containerd /run/lock /run/netns
ip link delete cni0 2>/dev/null || :
"#
    )
}
