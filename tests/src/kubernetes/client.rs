//! A machine on the bridge that is no node: a laptop, or a builder elsewhere.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::addresses;
use crate::machine::Machine;

/// Connects it, and gives it names and authorities of its own. Pods are out of its reach but by the default route.
pub(crate) fn settle(control_plane: &Machine, client: &Machine, hosts: &[&str], authority: &str) -> Result<()> {
    let home = client.home();
    fs::write(home.join("names"), format!("127.0.0.1 localhost client\n{} {}\n", addresses::INGRESS, hosts.join(" ")))
        .context("cannot write names")?;
    fs::write(home.join("authority.crt"), authority).context("cannot write an authority")?;
    fs::write(policy(client), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).context("cannot write a policy")?;
    control_plane.script(&format!(
        "ip link add vethc type veth peer name eth0 netns {}\nip link set vethc master br0 up\n",
        client.inner_pid()
    ))?;
    let home = home.display();
    client.script(&format!(
        "ip address add {}/24 dev eth0\nip link set eth0 up\nip route add default via {}\n\
         mkdir -p {home}/over/upper {home}/over/work\n\
         mount -t overlay -o lowerdir=/etc,upperdir={home}/over/upper,workdir={home}/over/work overlay /etc\n\
         mkdir -p /etc/ssl/certs\n\
         cat /etc/ssl/certs/ca-certificates.crt {home}/authority.crt > {home}/authorities.crt 2>/dev/null || :\n\
         put() {{ rm -f $2; cp {home}/$1 $2; }}\n\
         put authorities.crt /etc/ssl/certs/ca-certificates.crt\nput names /etc/hosts\n",
        addresses::CLIENT,
        addresses::CONTROL_PLANE,
    ))?;
    Ok(())
}

/// The signature policy of its podman: none.
pub(crate) fn policy(client: &Machine) -> PathBuf {
    client.home().join("policy.json")
}
