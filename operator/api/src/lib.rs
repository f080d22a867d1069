//! The custom resources of Tidepool, as a user writes them.
//!
//! - [`MirrorNode`]: what one node does with the mirrors; written by the agent on that node.

mod mirror_node;

pub use mirror_node::{
    MirrorNode, MirrorNodeSpec, MirrorNodeStatus, MirrorState, NodeMirror, Runtime, condition as mirror_node_condition,
};
