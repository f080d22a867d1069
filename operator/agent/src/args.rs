//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use tidepool_config::names::AGENT_PORT;
use tidepool_runtime::LogArgs;

use crate::registries_conf::PullFromMirror;

/// The Tidepool node agent: lets this node pull through the cluster's mirrors, and past them when they are away.
#[derive(Debug, Parser)]
#[command(name = "tidepool-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the agent of one node, in its DaemonSet
    Run(Box<RunArgs>),
    /// Asks a running agent whether it is alive, or ready; for exec probes
    Probe(ProbeArgs),
    /// Takes back every file that an agent wrote on this node, and ends
    Withdraw(DirectoryArgs),
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of this Node
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// The agent's namespace, with ConfigMap tidepool-nodes
    #[arg(long, env = "POD_NAMESPACE", default_value = "tidepool-agents")]
    pub namespace: String,
    /// The mirrors' namespace, with their EndpointSlices
    #[arg(long, env = "TIDEPOOL_MIRROR_NAMESPACE", default_value = "tidepool-system")]
    pub mirror_namespace: String,
    /// The agent's DaemonSet: when it is gone as the agent stops, files are withdrawn
    #[arg(long, env = "TIDEPOOL_DAEMONSET", default_value = "tidepool-agent")]
    pub daemonset: String,
    /// Port of the listener on 127.0.0.1; below 1024, so that no unprivileged process can take it
    #[arg(long, env = "TIDEPOOL_PORT", default_value_t = AGENT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Where things are on the node
    #[command(flatten)]
    pub directories: DirectoryArgs,
    /// The runtime's configuration directory, as mounted; only read
    #[arg(long, env = "TIDEPOOL_RUNTIME_CONFIG_DIR", default_value = "/host/runtime")]
    pub runtime_config_dir: PathBuf,
    /// That directory's path on the node, for messages
    #[arg(long, env = "TIDEPOOL_RUNTIME_CONFIG_HOST_DIR", default_value = "/etc/containerd")]
    pub runtime_config_host_dir: PathBuf,
    /// Which pulls of a CRI-O node come to the mirror; such a node stays with a mirror once it has chosen it
    #[arg(long, env = "TIDEPOOL_PULL_FROM_MIRROR", value_enum, default_value_t)]
    pub pull_from_mirror: PullFromMirror,
    /// Socket of metrics and health
    #[arg(long, env = "TIDEPOOL_ADMIN_SOCKET", default_value = "/run/tidepool/admin.sock")]
    pub admin_socket: PathBuf,
    /// Where the agent keeps its certificates and key over a restart of its container; memory, not a disk
    #[arg(long, env = "TIDEPOOL_RUN_DIR", default_value = "/run/tidepool")]
    pub run_dir: PathBuf,
    /// Seconds that streams under way may take to end when the agent stops
    #[arg(long, env = "TIDEPOOL_DRAIN_SECONDS", default_value = "20", value_parser = seconds)]
    pub drain: Duration,
    /// Does the work, as the child of a supervisor; the command starts one without this
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Directories that the agent writes.
#[derive(Args, Clone, Debug)]
pub struct DirectoryArgs {
    /// The runtime's registry directory (containerd's config_path), as mounted
    #[arg(long, env = "TIDEPOOL_REGISTRY_DIR", default_value = "/host/registry")]
    pub registry_dir: PathBuf,
    /// The registry directory's path on the node, which the runtime's config_path should name
    #[arg(long, env = "TIDEPOOL_REGISTRY_HOST_DIR", default_value = "/etc/containerd/certs.d")]
    pub registry_host_dir: PathBuf,
    /// Where the agent keeps other people's files while its own take their place, and what it last knew
    #[arg(long, env = "TIDEPOOL_STATE_DIR", default_value = "/var/lib/tidepool")]
    pub state_dir: PathBuf,
}

/// Flags of `probe`.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// Socket of the running agent
    #[arg(long, env = "TIDEPOOL_ADMIN_SOCKET", default_value = "/run/tidepool/admin.sock")]
    pub admin_socket: PathBuf,
    /// Asks whether it is ready; otherwise whether it is alive, and its supervisor too
    #[arg(long)]
    pub ready: bool,
    /// Where the supervisor shows that it runs
    #[arg(long, env = "TIDEPOOL_RUN_DIR", default_value = "/run/tidepool")]
    pub run_dir: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound_and_a_wrong_one_ends_with_code_2() {
        Cli::command().debug_assert();
        let wrong = Cli::try_parse_from(["tidepool-agent", "run", "--node-name", "n", "--port", "0"]).unwrap_err();
        assert_eq!(wrong.exit_code(), 2);
    }
}
