//! The Tidepool operator: makes of each RegistryMirror the objects that run it, and tells agents what to do.
//!
//! - [`Args`] and [`start()`]: the program.
//! - `controllers`: one module a controller, each reconcile a visible list of steps. What is decided is decided in
//!   crate `tidepool-plan`, which is pure; here is what reads and writes the cluster.
//! - `caches`: what is watched, kept in memory; `triggers`: which change concerns which mirror.
//! - `trust`: the authorities of the operator, and the certificates of members and agents.
//! - `rollouts`: one member at a time.
//! - `leader`, `lead`: which of several processes leads, and what it does meanwhile.
//! - `members`: what members report, and how they are asked.
//! - `apply`: how an object is written, and when it is not.

mod apply;
mod args;
mod backoff;
mod caches;
mod compare;
mod context;
mod controllers;
mod events;
mod lead;
mod leader;
mod members;
mod metrics;
mod queue;
mod report;
mod resources;
mod rollouts;
mod start;
#[cfg(test)]
mod testing;
mod triggers;
mod trust;

pub use args::{Args, Command, RunArgs};
pub use leader::LeaseLost;
pub use start::{StartError, start};
pub use trust::{Lifetime, LifetimeError, LifetimesError};
