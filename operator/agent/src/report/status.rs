//! The status of this node's MirrorNode, from what the agent has seen and what the object said before. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidepool_api::{
    MirrorNode, MirrorNodeStatus, MirrorState, NodeMirror, Runtime, RuntimeConfiguration, honored,
    mirror_node_condition as condition, ready,
};

use crate::{
    honored::Evidence,
    node::RuntimeVersion,
    runtime_config::Support,
    states::{Seen, state_of},
    wanted::Wanted,
    watch::Problem,
};

const NO_MIRROR: &str = "NoMirror";
const NOT_SELECTED: &str = "no RegistryMirror selects this node";

/// What the agent reports; times and generations are the object's.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    runtime: Option<Runtime>,
    mirrors: Vec<NodeMirror>,
    ready: Claim,
    /// What the agent knows itself. What it does not know it leaves to the operator, who finds out by a probe pod.
    honored: Option<Claim>,
}

/// A condition without its times.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    status: &'static str,
    reason: String,
    message: String,
}

impl Claim {
    fn new(status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        // The API allows 32,768 characters; nobody reads that many.
        Self { status, reason: reason.into(), message: message.into().chars().take(1024).collect() }
    }
}

impl Report {
    /// Puts together what is reported.
    #[must_use]
    pub fn new(wanted: &Wanted, seen: &Seen, problem: Option<&Problem>, runtime: Option<&RuntimeVersion>) -> Self {
        let mirrors: Vec<_> = wanted.mirrors.iter().take(128).map(|part| state_of(part, seen)).collect();
        let honored = honored_of(seen, runtime);
        let runtime = runtime.map(|runtime| runtime_of(runtime, seen.support.as_ref()));
        let uses = |mirror: &NodeMirror| !matches!(mirror.state, MirrorState::Withdrawn | MirrorState::Shadowed);
        // A verdict of before is nobody's any more then.
        let is_idle = problem.is_none() && !mirrors.iter().any(uses);
        // What keeps the runtime from the files is worth knowing before there are any.
        let honored = match honored {
            Some(claim) if claim.status == "False" => Some(claim),
            _ if is_idle => Some(unused(&mirrors)),
            other => other,
        };
        Self { runtime, ready: ready_of(&mirrors, problem), honored, mirrors }
    }

    /// What an agent leaves behind that is gone for good.
    #[must_use]
    pub fn stopped(runtime: Option<&RuntimeVersion>) -> Self {
        let message = "the agent was taken from this node for good, and its files with it";
        let claim = |status| Claim::new(status, ready::AGENT_STOPPED, message);
        let honored = Some(claim("Unknown"));
        Self { ready: claim("False"), honored, ..Self::new(&Wanted::default(), &Seen::default(), None, runtime) }
    }

    /// The agent's part of the status, given the object as it is: what did not change keeps its time of transition.
    #[must_use]
    pub fn status(&self, object: &MirrorNode, now: Timestamp) -> MirrorNodeStatus {
        let before = object.status.clone().unwrap_or_default();
        let find = |kind: &str| before.conditions.iter().find(|condition| condition.type_ == kind);
        let generation = object.metadata.generation;
        let honored = self.honored.clone().or_else(|| self.unknown(find(condition::HONORED)?, &before));
        let claims = [(condition::READY, Some(&self.ready)), (condition::HONORED, honored.as_ref())];
        let conditions = claims
            .into_iter()
            .filter_map(|(kind, claim)| Some(condition_of(kind, claim?, find(kind), generation, now)));
        MirrorNodeStatus {
            runtime: self.runtime.clone(),
            conditions: conditions.collect(),
            mirrors: self.mirrors.clone(),
        }
    }

    /// What an agent that knows nothing says of what stands there. The operator's word it leaves alone; its own it must
    /// keep or replace, for a condition whose fields nobody owns any more is none, and the API server refuses that.
    fn unknown(&self, stands: &Condition, before: &MirrorNodeStatus) -> Option<Claim> {
        if honored::is_the_operators(&stands.reason) {
            return None;
        }
        // A new agent has seen no pull yet, and the runtime is the one that was proven.
        if stands.status == "True" && self.is_of_the_runtime_of(before) {
            return Some(Claim::new("True", stands.reason.clone(), stands.message.clone()));
        }
        Some(Claim::new("Unknown", honored::UNPROVEN, "no pull has come through the agent yet"))
    }

    fn is_of_the_runtime_of(&self, before: &MirrorNodeStatus) -> bool {
        let of = |runtime: &Option<Runtime>| runtime.clone().map(|runtime| Runtime { advice: None, ..runtime });
        of(&self.runtime) == of(&before.runtime)
    }
}

/// Whether an object says what an agent's part of the status says; the rest of it is somebody else's.
#[must_use]
pub fn is_said(part: &MirrorNodeStatus, object: &MirrorNode) -> bool {
    let Some(status) = &object.status else { return false };
    let stands = |wanted: &Condition| status.conditions.iter().any(|condition| condition == wanted);
    status.runtime == part.runtime && status.mirrors == part.mirrors && part.conditions.iter().all(stands)
}

fn runtime_of(runtime: &RuntimeVersion, support: Option<&Support>) -> Runtime {
    let cut = |text: &str| text.chars().take(1024).collect();
    let (configuration, advice) = match support {
        None => (None, None),
        Some(Support::Expected) => (Some(RuntimeConfiguration::Configured), None),
        // With what the operator's probe finds, this is the remedy. The other cases are conditions of their own.
        Some(Support::Doubtful(advice)) => (Some(RuntimeConfiguration::Doubtful), Some(cut(advice))),
        Some(Support::NotConfigured(_)) => (Some(RuntimeConfiguration::NotConfigured), None),
        Some(Support::Native(_)) => (Some(RuntimeConfiguration::Native), None),
        Some(Support::OtherRuntime(_)) => (Some(RuntimeConfiguration::Unsupported), None),
    };
    Runtime { name: runtime.name.clone(), version: runtime.version.clone(), configuration, advice }
}

fn condition_of(
    kind: &str,
    claim: &Claim,
    before: Option<&Condition>,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let unchanged = before.filter(|before| before.status == claim.status);
    // The API server keeps whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.to_owned(),
        status: claim.status.to_owned(),
        reason: claim.reason.clone(),
        message: claim.message.clone(),
        observed_generation: generation,
        last_transition_time: unchanged.map_or(Time(now), |before| before.last_transition_time.clone()),
    }
}

fn ready_of(mirrors: &[NodeMirror], problem: Option<&Problem>) -> Claim {
    match problem {
        Some(Problem::Missing) => {
            let message = "there is no ConfigMap tidepool-nodes in the agents' namespace; look at the operator";
            return Claim::new("False", "DocumentMissing", message);
        }
        Some(Problem::Unreadable(why)) => {
            let message = format!(
                "ConfigMap tidepool-nodes cannot be read ({why}), the last one stays in force; bring operator and agents to one release"
            );
            return Claim::new("False", "DocumentUnreadable", message);
        }
        None => {}
    }
    let rank = |state: MirrorState| match state {
        MirrorState::Unsupported => 3,
        MirrorState::Pending => 2,
        MirrorState::Bypassing => 1,
        MirrorState::Active | MirrorState::Shadowed | MirrorState::Withdrawn => 0,
    };
    match mirrors.iter().max_by_key(|mirror| rank(mirror.state)) {
        None => Claim::new("True", NO_MIRROR, NOT_SELECTED),
        Some(worst) if rank(worst.state) > 0 => {
            Claim::new("False", worst.reason.clone(), format!("mirror {}: {}", worst.name, worst.message))
        }
        Some(_) => Claim::new("True", "Configured", ""),
    }
}

/// Nothing is there that the runtime could honor, whatever it did before: why.
fn unused(mirrors: &[NodeMirror]) -> Claim {
    let (reason, message) = mirrors.first().map_or((NO_MIRROR, NOT_SELECTED.to_owned()), |mirror| {
        (mirror.reason.as_str(), format!("mirror {}: {}", mirror.name, mirror.message))
    });
    Claim::new("Unknown", reason, message)
}

fn honored_of(seen: &Seen, runtime: Option<&RuntimeVersion>) -> Option<Claim> {
    let is_probed = runtime.is_none_or(RuntimeVersion::is_containerd);
    let (status, reason, message) = match (&seen.support, seen.honored) {
        (Some(Support::OtherRuntime(message)), _) => ("False", honored::RUNTIME_UNSUPPORTED, message.as_str()),
        (_, Some(Evidence::Pull)) => {
            ("True", honored::PULL_SEEN, "a pull of the node's runtime came through the mirror")
        }
        (_, Some(Evidence::Probe)) => {
            ("True", honored::PROBE_SEEN, "the pull of the operator's probe pod came through the agent")
        }
        (Some(Support::NotConfigured(message)), None) => ("False", honored::RUNTIME_NOT_CONFIGURED, message.as_str()),
        (Some(Support::Native(message)), None) => ("Unknown", honored::NATIVE_CONFIGURATION, message.as_str()),
        // The operator probes containerd alone.
        (Some(Support::Doubtful(message)), None) if !is_probed => ("Unknown", honored::UNPROVEN, message.as_str()),
        (Some(Support::Doubtful(_) | Support::Expected) | None, None) => return None,
    };
    Some(Claim::new(status, reason, message))
}

#[cfg(test)]
mod tests;
