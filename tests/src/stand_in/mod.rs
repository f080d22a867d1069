//! Registries that stand in for real ones: TLS by a test authority, a token server, a request log, and a switch.
//!
//! Contents lie in a real registry (distribution) on loopback of the control plane, to which tests push. In front of it
//! one process, `tidepool-cluster stand-in`, listens on an address of the bridge for each registry, as the real one
//! would: TLS, anonymous Bearer tokens per repository, no pushes. Every request is logged before its last byte is sent.

mod backend;
mod control;
mod forward;
mod front;
mod log;
mod server;
mod tokens;

use serde::{Deserialize, Serialize};

pub(crate) use backend::{await_ready, start};
pub(crate) use control::switch;
pub use log::Request;
pub(crate) use log::read as read_log;
pub(crate) use server::run;

/// A registry that a cluster knows under the names of a real one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StandIn {
    /// What images call it: `docker.io`.
    pub name: String,
    /// Host names that lead to it, on nodes and in pods.
    pub hosts: Vec<String>,
    /// Its token server; without one everybody may read.
    pub tokens: Option<TokenServer>,
    /// Its address on the bridge, given when the cluster starts.
    pub(crate) address: String,
    /// The port of its contents on the control plane's loopback, given when the cluster starts.
    pub(crate) backend: u16,
}

/// The token server that a registry's challenge names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenServer {
    /// Where tokens are had; a host of the same stand-in and the path `/token`.
    pub realm: String,
    /// The service that tokens are for.
    pub service: String,
}

impl StandIn {
    /// Docker Hub: registry and token server under different names.
    pub fn docker_hub() -> Self {
        let hosts = ["registry-1.docker.io", "auth.docker.io", "docker.io", "index.docker.io"];
        Self::with_tokens("docker.io", &hosts, "https://auth.docker.io/token", "registry.docker.io")
    }

    /// GitHub's registry, its own token server.
    pub fn ghcr() -> Self {
        Self::with_tokens("ghcr.io", &["ghcr.io"], "https://ghcr.io/token", "ghcr.io")
    }

    /// A registry that everybody may read without a token, under one name.
    pub fn open(name: &str) -> Self {
        let (name, hosts) = (name.to_owned(), vec![name.to_owned()]);
        Self { name, hosts, tokens: None, address: String::new(), backend: 0 }
    }

    fn with_tokens(name: &str, hosts: &[&str], realm: &str, service: &str) -> Self {
        let tokens = TokenServer { realm: realm.to_owned(), service: service.to_owned() };
        Self { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), tokens: Some(tokens), ..Self::open(name) }
    }
}

/// What the process of the stand-ins is told: `<registries>/stand-ins.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    stand_ins: Vec<StandIn>,
}

/// Names within the folder of the stand-ins.
mod files {
    pub(super) const CONFIG: &str = "stand-ins.json";
    pub(super) const CONTROL: &str = "control";
    pub(super) const LOG: &str = "requests.jsonl";
    /// Without the extensions `.crt` and `.key`.
    pub(super) const SERVER: &str = "server";
}
