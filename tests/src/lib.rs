//! Cluster harness, stand-in registries and suites of Tidepool.

mod addresses;
mod certificates;
mod cgroups;
pub mod cli;
mod cluster;
mod guard;
mod image;
mod kubernetes;
mod machine;
mod process;
mod registry;
mod stand_in;
mod state;
mod tools;
mod wait;

pub use cluster::{Cluster, ClusterOptions, StartError};
pub use image::{Blob, Image, ImageSpec};
pub use machine::Output;
pub use registry::Registry;
pub use stand_in::{Request, StandIn, TokenServer};
pub use tools::repository;
pub use wait::until;
