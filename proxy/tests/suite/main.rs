//! The proxy as its clients see it, between a fake registry that can fail in every way and a plain HTTP client.
//!
//! Real registries and real clients are in the workspace's `tests/`; here is what those cannot be made to do on demand.

// `cfg(test)` tells clippy that these are test code.
#[cfg(test)]
mod access;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod agents;
mod bad_input;
mod blobs;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fault;
mod faults;
#[cfg(test)]
mod fills;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod indexes;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod manners;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod power;
#[cfg(test)]
mod private;
#[cfg(test)]
mod program;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod ranges;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod sick;
mod tags;
mod tokens;
