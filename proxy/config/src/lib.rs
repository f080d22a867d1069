//! The files that one part of Tidepool writes and another reads, as one serde type for both sides.
//!
//! - [`ProxyFile`]: what a proxy serves. Written by people for a proxy that runs alone, and by the operator.
//! - [`NodesDocument`]: what agents do on nodes. Written by the operator into ConfigMap `tidepool-nodes`.
//! - [`ProxyState`]: what a member reports back to the operator.
//! - [`trust`]: the names by which agents and members know each other.
//! - [`docker_login`], [`users`]: credentials in files of other tools.
//! - [`names`]: names and numbers that several parts, charts and people rely on.
//!
//! During a rollout old readers meet new files: changes here are additive, and [`NodesDocument`] carries a version.

mod bytesize;
mod credentials;
pub mod names;
mod nodes;
mod proxy;
mod registries;
mod report;
mod state;
mod strict;
mod time_span;
pub mod trust;

pub use bytesize::{ByteSize, ByteSizeError};
pub use credentials::{DockerConfigError, Login, UsersError, docker_login, users};
pub use nodes::{MirrorEntry, Mode, NodeSelector, NodesDocument, Operator, Requirement, UnknownVersion, is_excluded};
pub use proxy::{
    Access, Agents, AnonymousPull, Credentials, EgressProxy, ProxyFile, ProxyFileError, Scope, Storage, Tags, Tls,
    Upstream, UpstreamGone,
};
pub use registries::{PUBLIC_REGISTRIES, default_url};
pub use report::{FillReport, ListenerReport, ProxyReport, StoreReport};
pub use state::{CredentialState, Failure, ProxyState, RateLimit, Reach, UpstreamHealth, UpstreamState};
pub use time_span::{TimeSpan, TimeSpanError};
