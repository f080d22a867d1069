//! The program's arguments.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand};
use tidepool_runtime::{LogArgs, LogFilter};

use crate::Lifetime;

/// Makes of each RegistryMirror the objects that run it
#[derive(Debug, Parser)]
#[command(name = "tidepool-operator", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log. Members are told the level too.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controllers until told to stop
    Run(RunArgs),
}

/// Arguments of `run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Namespace of the operator and of all objects of all mirrors
    #[arg(long, env = "POD_NAMESPACE", default_value = "tidepool-system")]
    pub namespace: String,
    /// Namespace of the agents, where the document they read is written
    #[arg(long, env = "AGENT_NAMESPACE", default_value = "tidepool-agents")]
    pub agent_namespace: String,
    /// Image that members run
    #[arg(long, env = "TIDEPOOL_IMAGE")]
    pub image: String,
    /// Which events members log: what this program logs, see [`Args::log`].
    #[arg(skip)]
    pub member_log: Option<LogFilter>,
    /// When nodes pull that image: IfNotPresent, Always or Never
    #[arg(long, env = "TIDEPOOL_IMAGE_PULL_POLICY", default_value = "IfNotPresent",
          value_parser = ["IfNotPresent", "Always", "Never"])]
    pub image_pull_policy: String,
    /// How long an authority of the operator lives; the next one is made after two thirds
    #[arg(long, value_name = "TIME", default_value = "365d")]
    pub authority_lifetime: Lifetime,
    /// How long certificates of members and agents live; they are renewed after two thirds
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub certificate_lifetime: Lifetime,
    /// How often everything is looked at though nothing changed
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = resync)]
    pub resync: Duration,
    /// How many nodes are probed at a time by a short-lived pod, to learn whether they pull through their agents; 0: none
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    pub probes_at_once: usize,
    /// Whether to lead only by a Lease, so that several processes may run; without, this one must be alone
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub leader_election: bool,
    /// Name of the Lease, in the operator's namespace
    #[arg(long, value_name = "NAME", default_value = "tidepool-operator")]
    pub lease_name: String,
    /// How this process is called in the Lease
    #[arg(long, env = "HOSTNAME", default_value = "tidepool-operator", hide = true)]
    pub process_name: String,
    /// Address of metrics and health
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
}

/// Whoever wants it less often wants none.
const LONGEST_RESYNC: Duration = Duration::from_secs(24 * 3600);

/// The text is no period that can be meant.
#[derive(Debug, thiserror::Error)]
#[error("it is written with units s, m and h, such as 10m, from 30s to 24h")]
struct ResyncError;

fn resync(text: &str) -> Result<Duration, ResyncError> {
    let Lifetime(period) = text.parse().map_err(|_| ResyncError)?;
    if period <= LONGEST_RESYNC { Ok(period) } else { Err(ResyncError) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_period_of_resyncs_is_one_that_timers_and_clusters_bear() {
        let read = |text: &str| resync(text).ok().map(|period| period.as_secs());
        assert_eq!(read("30s"), Some(30));
        assert_eq!(read("24h"), Some(24 * 3600));
        for text in ["", "10", "29s", "1441m", "36500d"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
