//! The proxy as its clients see it, between a fake registry that can fail in every way and a plain HTTP client.
//!
//! Real registries and real clients are in the workspace's `tests/`; here is what those cannot be made to do on demand.

// Tells clippy that this is test code.
#![cfg(test)]

mod access;
mod admin;
mod agents;
mod bad_input;
mod blobs;
mod certificates;
mod crashes;
mod credentials;
mod egress;
mod elsewhere;
mod fake;
mod fault;
mod faults;
mod fills;
mod guard;
mod hosts;
mod identity;
mod indexes;
mod kept;
mod log_level;
mod logins;
mod manners;
mod metrics;
mod outages;
mod overload;
mod power;
mod private;
mod program;
mod proxy;
mod purge;
mod ranges;
mod reload;
mod resume;
mod secrets;
mod segments;
mod serving;
mod sick;
#[cfg(test)]
mod tag_rules;
mod tags;
mod tokens;
mod verdicts;
