//! A link of a known speed: a network namespace for a member, and a pair of interfaces with a token bucket between it and
//! this machine's own. All of it goes with the process that holds the namespace, and that with this one.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Of the addresses that are set aside for measurements (RFC 2544).
const HERE: &str = "198.18.0.1/30";
const THERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const INTERFACE: &str = "tidepool-bench";

/// A link and the namespace at its end.
#[derive(Debug)]
pub(crate) struct Link(Child);

impl Link {
    /// A link of so many bits a second; none where this user may make none.
    pub(crate) fn new(rate: &str) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        // What a killed run left goes first; most of the time there is nothing.
        let _ = Command::new("ip").args(["link", "delete", INTERFACE]).stderr(Stdio::null()).status();
        let mut holder = Command::new("setpriv");
        holder.args(["--pdeathsig=KILL", "unshare", "--net", "sleep", "infinity"]);
        let link = Self(holder.spawn().context("cannot make a network namespace")?);
        link.until_it_is_there()?;
        let pid = link.0.id().to_string();
        run("ip", &["link", "add", INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        run("ip", &["address", "add", HERE, "dev", INTERFACE])?;
        run("ip", &["link", "set", INTERFACE, "up"])?;
        let there = format!(
            "ip link set lo up; ip address add {THERE}/30 dev eth0; ip link set eth0 up; \
             tc qdisc replace dev eth0 root tbf rate {rate} burst 4mb latency 50ms"
        );
        run("nsenter", &["--target", &pid, "--net", "sh", "-ec", &there])?;
        Ok(Some(link))
    }

    /// The address at its end.
    pub(crate) fn address() -> IpAddr {
        THERE.into()
    }

    /// A command that runs another at the end of the link.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.id().to_string(), "--net"]);
        command
    }

    /// Waits until the holder is in its namespace and no longer in ours.
    fn until_it_is_there(&self) -> Result<()> {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
        let (ours, deadline) = (namespace("self").context("no namespaces")?, Instant::now() + Duration::from_secs(5));
        while namespace(&self.0.id().to_string()).ok().is_none_or(|theirs| theirs == ours) {
            ensure!(Instant::now() < deadline, "no network namespace comes up");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("no {program}"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
