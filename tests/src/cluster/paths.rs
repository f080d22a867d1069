//! Ways between nodes and pods that are cut, or lead elsewhere.

use std::fs;

use anyhow::{Context, Result};

use super::{Cluster, Disturbance};
use crate::addresses;
use crate::kubernetes::node_options::Rate;
use crate::machine::Machine;
use crate::relay::Act;
use crate::stand_in;
use crate::tools;

impl Cluster {
    /// Lets a node receive `rate` at most; healed, `before`.
    pub fn slow_link(&self, number: usize, rate: Rate, before: Rate) -> Result<Disturbance<'_>> {
        let control_plane = &self.local()?.state.control_plane;
        let link = format!("veth{number}");
        control_plane.script(&rate.limit(&link)).context("cannot slow a link")?;
        Ok(Disturbance::until(move || control_plane.script(&before.limit(&link)).map(drop)))
    }

    /// Drops every packet between a node and an address.
    pub fn drop_packets(&self, node: usize, address: &str) -> Result<Disturbance<'_>> {
        let node = self.local()?.node(node)?;
        rule(node, &format!("filter {{}} OUTPUT -d {address} -j DROP"))
            .and_then(|there| Ok(there.and(rule(node, &format!("filter {{}} INPUT -s {address} -j DROP"))?)))
    }

    /// Leads a node's connections with a port of a pod to a port of the control plane; those that are there are reset
    /// when the node next sends something.
    pub fn divert(&self, node: usize, address: &str, port: u16, to: u16) -> Result<Disturbance<'_>> {
        let node = self.local()?.node(node)?;
        let there = format!("OUTPUT -p tcp -d {address} --dport {port}");
        let target = format!("{}:{to}", addresses::CONTROL_PLANE);
        let led = rule(node, &format!("nat {{}} {there} -j DNAT --to-destination {target}"))?;
        Ok(led.and(rule(node, &format!("filter {{}} {there} -j REJECT --reject-with tcp-reset"))?))
    }

    /// Starts a relay on a port of the control plane that passes bytes to `target`, until told otherwise.
    pub fn relay(&self, port: u16, target: &str) -> Result<Disturbance<'_>> {
        self.tell_relay(port, Act::Pass)?;
        let orders = self.relay_orders(port)?.display().to_string();
        self.serve_on_control_plane("relay", port, &["relay", "--to", target, "--orders", &orders])
    }

    /// Tells a relay what to do with the connections that it has and will have.
    pub fn tell_relay(&self, port: u16, act: Act) -> Result<()> {
        let file = self.relay_orders(port)?;
        let text = serde_json::to_string(&act).context("cannot write JSON")?;
        // Renamed into place: a relay may read at any time.
        fs::write(file.with_extension("new"), text).context("cannot write an order")?;
        fs::rename(file.with_extension("new"), file).context("cannot give an order")
    }

    /// Starts a server on a port of the control plane that has a certificate and answers everything with a status.
    pub fn refuser(&self, port: u16, (certificate, key): (&str, &str), status: u16) -> Result<Disturbance<'_>> {
        let folder = self.local()?.folder.join(format!("refuser-{port}"));
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        fs::write(folder.join("server.crt"), certificate).context("cannot write a certificate")?;
        fs::write(folder.join("server.key"), key).context("cannot write a key")?;
        let (folder, status) = (folder.display().to_string(), status.to_string());
        self.serve_on_control_plane("refuser", port, &["refuser", "--folder", &folder, "--status", &status])
    }

    /// Stops kube-proxy on a node and takes its rules away.
    pub fn remove_kube_proxy(&self, number: usize) -> Result<Disturbance<'_>> {
        let node = self.local()?.node(number)?;
        let gone = self.kill_daemon(node.name(), "kube-proxy")?;
        node.script("iptables-save | grep -v KUBE | iptables-restore\n")?;
        Ok(gone)
    }

    fn relay_orders(&self, port: u16) -> Result<std::path::PathBuf> {
        Ok(self.local()?.folder.join(format!("relay-{port}.json")))
    }

    /// Runs a server of ours until the fault is taken back.
    fn serve_on_control_plane(&self, kind: &str, port: u16, args: &[&str]) -> Result<Disturbance<'_>> {
        let control_plane = &self.local()?.state.control_plane;
        let name = format!("{kind}-{port}");
        let listen = format!("{}:{port}", addresses::CONTROL_PLANE);
        let program = tools::own_program()?.display().to_string();
        control_plane.daemon(&name, &[&[program.as_str()], args, &["--listen", &listen]].concat())?;
        let running =
            Disturbance::until(move || control_plane.daemon_process(&name)?.kill(std::time::Duration::from_secs(5)));
        stand_in::await_listening(control_plane, kind, &[(addresses::CONTROL_PLANE, port)])?;
        Ok(running)
    }
}

/// Puts a rule first in a table; `{}` is where iptables wants to be told.
fn rule<'a>(node: &'a Machine, rule: &str) -> Result<Disturbance<'a>> {
    let command = |act: &str| format!("iptables -w 10 -t {}\n", rule.replacen("{}", act, 1));
    let remove = command("-D");
    node.script(&command("-I"))?;
    Ok(Disturbance::until(move || node.script(&remove).map(drop)))
}
