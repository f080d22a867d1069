//! Condition `Ready` of a node: what its agent makes of its mirrors, and who else may say something.

use super::{MirrorState, NodeMirror};

/// Unknown, by the operator: no pod of an agent is ready on the node, so that nobody speaks for it.
pub const AGENT_NOT_READY: &str = "AgentNotReady";
/// False, by the agent: it was taken from the node for good.
pub const AGENT_STOPPED: &str = "AgentStopped";
/// True, by the agent: there is nothing to do on the node.
pub const NO_MIRROR: &str = "NoMirror";
/// What is said with [`NO_MIRROR`].
pub const NOT_SELECTED: &str = "no RegistryMirror selects this node";
/// True, by the agent: what the mirrors ask for is done.
pub const CONFIGURED: &str = "Configured";

/// Status, reason and message that follow from the states of a node's mirrors: the worst counts. The agent says it, and
/// the operator again when it takes its own word back.
#[must_use]
pub fn of_mirrors(mirrors: &[NodeMirror]) -> (&'static str, String, String) {
    match mirrors.iter().max_by_key(|mirror| rank(mirror.state)) {
        None => ("True", NO_MIRROR.to_owned(), NOT_SELECTED.to_owned()),
        Some(worst) if rank(worst.state) > 0 => {
            ("False", worst.reason.clone(), format!("mirror {}: {}", worst.name, worst.message))
        }
        Some(_) => ("True", CONFIGURED.to_owned(), String::new()),
    }
}

fn rank(state: MirrorState) -> u8 {
    match state {
        MirrorState::Unsupported => 3,
        MirrorState::Pending => 2,
        MirrorState::Bypassing => 1,
        MirrorState::Active | MirrorState::Shadowed | MirrorState::Withdrawn => 0,
    }
}
