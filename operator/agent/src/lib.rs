//! The Tidepool node agent.
pub mod files;
pub mod hosts_toml;
pub mod node;
pub mod rendezvous;
pub mod wanted;
