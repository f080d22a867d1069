//! The controllers.
//!
//! - `mirror`: one RegistryMirror to its objects and its status.
//! - `nodes`: all mirrors to the document that agents read, and a MirrorNode for each Node.
//! - `probes`: nodes of which nobody knows whether they use their mirrors to probe pods, and what these tell.
//! - `absences`: nodes without an agent to what their MirrorNodes say meanwhile.
//!
//! The last three look at everything at once, in `rounds`.

pub(crate) mod absences;
pub(crate) mod mirror;
mod mirror_nodes;
pub(crate) mod nodes;
pub(crate) mod probes;
pub(crate) mod rounds;
