//! Cluster DNS on the bridge: services, and the stand-in registries under the names of the real ones.

use std::fs;

use anyhow::{Context, Result};

use super::control_plane::kubeconfig;
use crate::addresses;
use crate::machine::Machine;
use crate::stand_in::{Egress, StandIn};

/// Starts CoreDNS. Any other name does not exist, said at once: a cluster here has no way out.
pub(crate) fn start(machine: &Machine, names: &str) -> Result<()> {
    let hosts = machine.home().join("names");
    fs::write(&hosts, names).context("cannot write the names of the stand-ins")?;
    let zones: Vec<&str> = names.lines().flat_map(|line| line.split(' ').skip(1)).collect();
    let corefile = format!(
        "(here) {{\n bind {address}\n errors\n}}\n\
         {zones} {{\n import here\n hosts {hosts}\n}}\n\
         cluster.local in-addr.arpa {{\n import here\n kubernetes cluster.local in-addr.arpa {{\n  kubeconfig {config}\n }}\n}}\n\
         . {{\n import here\n template ANY ANY {{\n  rcode NXDOMAIN\n }}\n}}\n",
        address = addresses::CONTROL_PLANE,
        zones = zones.join(" "),
        hosts = hosts.display(),
        config = kubeconfig(machine).display(),
    );
    let file = machine.home().join("Corefile");
    fs::write(&file, corefile).context("cannot write the DNS configuration")?;
    machine.daemon("dns", &["coredns", "-conf", &file.display().to_string()])?;
    Ok(())
}

/// The names of stand-ins and of the way out in the format of `/etc/hosts`.
pub(crate) fn hosts_file(stand_ins: &[StandIn], egress: Option<&Egress>) -> String {
    let known = stand_ins.iter().filter(|stand_in| !stand_in.hidden);
    let lines = known.map(|stand_in| format!("{} {}\n", stand_in.address, stand_in.hosts.join(" ")));
    lines.chain(egress.map(|egress| format!("{} {}\n", addresses::EGRESS, egress.host))).collect()
}
