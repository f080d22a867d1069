//! The Tidepool proxy: a pull-through registry cache.
//!
//! Read in this order: [`routes`] is every route in one screen; [`pull`] is what a request does; [`store`] is what is
//! kept and what it survives; [`upstream`] is how registries are asked; [`send`] is how bytes leave; [`answers`] is what an
//! answer says of itself, [`error`] what each failure looks like to a client. Around them: [`listen`] and [`access`] are who
//! may ask us, [`layers`] what surrounds every request; [`metrics`] and [`admin`] are what can be seen from outside;
//! [`settings`] is what a reload replaces, [`reload`] when it does. [`Server`] holds them together, [`Args`] is the command
//! line.
//!
//! Rules named P1 to P14 are those of the design document, section 5.
#![cfg_attr(not(test), expect(rustdoc::private_intra_doc_links, reason = "the map above is for readers of the source"))]

mod access;
mod admin;
mod answers;
mod args;
mod config_source;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod layers;
mod listen;
mod metrics;
mod pull;
mod reload;
mod routes;
mod send;
mod server;
mod settings;
mod store;
mod tasks;
mod upstream;
mod write_deadline;

pub use access::NoRandomness;
pub use admin::PurgeError;
pub use args::{Args, RunError};
pub use config_source::{ConfigError, ConfigSource};
pub use listen::tls::AgentsError;
pub use server::{Server, StartError};
pub use settings::{FileError, SettingsError};
pub use store::OpenError;
pub use upstream::{ClientError, Lookup};
