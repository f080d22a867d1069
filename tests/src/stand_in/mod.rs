//! Registries that stand in for real ones: TLS by a test authority, a token server, a request log, and a switch.
//!
//! Contents lie in a real registry (distribution) on loopback of the control plane, to which tests push. In front of it
//! one process, `tidepool-cluster stand-in`, listens on an address of the bridge for each registry, as the real one
//! would: TLS, Bearer tokens per repository or Basic logins, users and what only they read, no pushes. Every request is
//! logged before its last byte is sent. The same process is the way out ([`Egress`]) for who has no other.

mod answers;
mod backend;
mod control;
mod definition;
mod egress;
mod forward;
mod front;
mod log;
mod server;
mod tls;
mod tokens;
mod users;

use serde::{Deserialize, Serialize};

pub(crate) use backend::{await_listening, await_ready, start};
pub(crate) use control::order;
pub use definition::{StandIn, TokenServer, User};
pub(crate) use egress::read as read_passages;
pub use egress::{Egress, Passage};
pub use log::Request;
pub(crate) use log::read as read_log;
pub(crate) use server::run;
pub(crate) use tls::acceptor;

/// What the process of the stand-ins is told: `<registries>/stand-ins.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    stand_ins: Vec<StandIn>,
    egress: Option<Egress>,
}

/// Names within the folder of the stand-ins.
mod files {
    pub(super) const CONFIG: &str = "stand-ins.json";
    pub(super) const CONTROL: &str = "control";
    pub(super) const LOG: &str = "requests.jsonl";
    pub(super) const PASSAGES: &str = "egress.jsonl";
    /// The authority of all, which client certificates must come from too.
    pub(super) const AUTHORITY: &str = "ca.crt";
    /// Without the extensions `.crt` and `.key`.
    pub(super) const SERVER: &str = "server";
}
