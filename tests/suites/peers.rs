//! The proxy alone, and what the agent writes, between real programs: distribution behind it; containerd, podman, skopeo, crane and curl before it.
//!
//! Everything is on loopback with free ports. What upstream was asked is read from distribution's access log, or from the
//! fault proxy that stands before it. Cases are named after the rules of the design that they show.

#![cfg(test)]

#[path = "peers/artifacts.rs"]
mod artifacts;
#[path = "peers/capped.rs"]
mod capped;
#[path = "peers/clients.rs"]
mod clients;
#[path = "peers/containerd.rs"]
mod containerd;
#[path = "peers/crio.rs"]
mod crio;
#[path = "peers/disk.rs"]
mod disk;
#[path = "peers/distribution.rs"]
mod distribution;
#[path = "peers/faults.rs"]
mod faults;
#[path = "peers/kept.rs"]
mod kept;
#[path = "peers/killed.rs"]
mod killed;
#[path = "peers/nodes.rs"]
mod nodes;
#[path = "peers/proxy.rs"]
mod proxy;
#[path = "peers/ranges.rs"]
mod ranges;
#[path = "peers/several.rs"]
mod several;
#[path = "peers/shapes.rs"]
mod shapes;
#[path = "peers/token_server.rs"]
mod token_server;
#[path = "peers/tokens.rs"]
mod tokens;

use std::path::Path;
use std::process::Command;

use distribution::Distribution;
use tidepool_tests::{Image, ImageSpec};

const MIB: u64 = 1 << 20;
/// What a connection that breaks may cost in bytes that are sent again (P6).
const LOSS: u64 = 4 * MIB;

/// A command whose process is killed when the thread that starts it ends, however it does.
fn dying_with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Pushes `library/<name>:1` with layers of noise of these MiB.
fn push(upstream: &Distribution, name: &str, layers: &[u32]) -> Image {
    upstream.push(&ImageSpec::new(&format!("library/{name}"), "1").layers(layers).index())
}

/// The largest layer: the last of equals.
fn largest(image: &Image) -> &tidepool_tests::Blob {
    image.layers.iter().max_by_key(|layer| layer.size).unwrap()
}
