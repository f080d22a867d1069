//! The Tidepool node agent.
pub mod files;
pub mod forward;
pub mod hosts_toml;
pub mod metrics;
pub mod node;
pub mod rendezvous;
pub mod wanted;
