//! The contents of the stand-ins: real registries on loopback of the control plane, and the process before them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Config, Egress, StandIn, files};
use crate::certificates::Authority;
use crate::machine::Machine;
use crate::{addresses, tools, wait};

/// The first port of the contents on loopback.
const PORTS_FROM: u16 = 5001;

impl StandIn {
    /// Gives each its address and port, by its place in the list.
    pub(crate) fn place(stand_ins: &mut [Self]) {
        for (port, (index, stand_in)) in (PORTS_FROM..).zip(stand_ins.iter_mut().enumerate()) {
            stand_in.address = addresses::stand_in(index);
            stand_in.backend = port;
        }
    }
}

/// Starts the stand-ins; `folder` gets their contents, configuration and log.
pub(crate) fn start(
    machine: &Machine,
    folder: &Path,
    stand_ins: &[StandIn],
    egress: Option<&Egress>,
    authority: &Authority,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join(files::AUTHORITY), authority.pem()).context("cannot write the registries' authority")?;
    let hosts: Vec<String> = stand_ins.iter().flat_map(|stand_in| stand_in.hosts.clone()).collect();
    authority.write_server(folder, files::SERVER, &hosts)?;
    let config = serde_json::to_string(&Config { stand_ins: stand_ins.to_vec(), egress: egress.cloned() })
        .context("cannot write JSON")?;
    fs::write(folder.join(files::CONFIG), config).context("cannot write the stand-ins")?;
    for stand_in in stand_ins {
        let file = folder.join(format!("{}.json", stand_in.name));
        fs::write(&file, contents(folder, stand_in).to_string()).context("cannot write a registry's configuration")?;
        machine.daemon(&format!("registry-{}", stand_in.name), &["registry", "serve", &file.display().to_string()])?;
    }
    let program = tools::own_program()?.display().to_string();
    machine.daemon("stand-in", &[program.as_str(), "stand-in", "--folder", &folder.display().to_string()])?;
    Ok(())
}

/// Waits until the stand-ins and what is behind them listen.
pub(crate) fn await_ready(machine: &Machine, stand_ins: &[StandIn]) -> Result<()> {
    let mut wanted: Vec<(&str, u16)> = Vec::new();
    for stand_in in stand_ins {
        wanted.extend([(stand_in.address.as_str(), 443), ("127.0.0.1", stand_in.backend)]);
    }
    await_listening(machine, "stand-in registries", &wanted)
}

/// Waits until somebody listens at each of these addresses.
pub(crate) fn await_listening(machine: &Machine, what: &str, wanted: &[(&str, u16)]) -> Result<()> {
    let form = |(address, port): &(&str, u16)| -> Result<String> {
        Ok(kernel_form(address.parse().with_context(|| format!("`{address}` is no address"))?, *port))
    };
    let wanted: Vec<String> = wanted.iter().map(form).collect::<Result<_>>()?;
    wait::until(Duration::from_secs(120), Duration::from_millis(50), what, || {
        let sockets = machine.ok(&["cat", "/proc/net/tcp"])?;
        Ok(wanted.iter().all(|socket| sockets.contains(socket)))
    })
}

/// A listening socket as `/proc/net/tcp` shows it: the address in the machine's byte order, no peer, state 0A.
fn kernel_form(address: Ipv4Addr, port: u16) -> String {
    format!("{:08X}:{port:04X} 00000000:0000 0A", u32::from_ne_bytes(address.octets()))
}

/// distribution's configuration; JSON is YAML.
fn contents(folder: &Path, stand_in: &StandIn) -> serde_json::Value {
    json!({
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": folder.join(&stand_in.name)}, "delete": {"enabled": true},
                    "cache": {"blobdescriptor": "inmemory"}},
        "http": {"addr": format!("127.0.0.1:{}", stand_in.backend)},
    })
}
