//! The controllers.
//!
//! - `mirror`: one RegistryMirror to its objects and its status.
//! - `nodes`: all mirrors to the document that agents read, and a MirrorNode for each Node.

pub(crate) mod mirror;
pub(crate) mod nodes;
