//! The files that one part of Tidepool writes and another reads, as one serde type for both sides.
//!
//! - [`ProxyFile`]: what a proxy serves. Written by people for a proxy that runs alone, and by the operator.
//! - [`NodesDocument`]: what agents do on nodes. Written by the operator into ConfigMap `tidepool-nodes`.
//! - [`names`]: names and numbers that several parts, charts and people rely on.
//!
//! During a rollout old readers meet new files: changes here are additive, and [`NodesDocument`] carries a version.

mod bytesize;
pub mod names;
mod nodes;
mod proxy;
mod registries;
mod strict;

pub use bytesize::{ByteSize, ByteSizeError};
pub use nodes::{MirrorEntry, Mode, NodeSelector, NodesDocument, Operator, Requirement, UnknownVersion};
pub use proxy::{ProxyFile, ProxyFileError, Storage, Tls, Upstream};
pub use registries::{PUBLIC_REGISTRIES, default_url};
