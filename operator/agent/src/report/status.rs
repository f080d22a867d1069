//! The status of this node's MirrorNode, from what the agent has seen and what the object said before. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidepool_api::{
    MirrorNode, MirrorNodeStatus, MirrorState, NodeMirror, Runtime, mirror_node_condition as condition,
};

use crate::{
    node::RuntimeVersion,
    runtime_config::Support,
    states::{Seen, state_of},
    wanted::Wanted,
    watch::Problem,
};

/// What the agent reports; times and generations are the object's.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    runtime: Option<Runtime>,
    mirrors: Vec<NodeMirror>,
    ready: Claim,
    honored: Claim,
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
        let runtime = runtime.map(|runtime| Runtime { name: runtime.name.clone(), version: runtime.version.clone() });
        Self { runtime, ready: ready(&mirrors, problem), honored: honored(seen), mirrors }
    }

    /// What an agent leaves behind that is gone for good.
    #[must_use]
    pub fn stopped(runtime: Option<&RuntimeVersion>) -> Self {
        let message = "the agent was taken from this node for good, and its files with it";
        let ready = Claim::new("False", "AgentStopped", message);
        Self { ready, ..Self::new(&Wanted::default(), &Seen::default(), None, runtime) }
    }

    /// The whole status, given the object as it is: what did not change keeps its time of transition.
    #[must_use]
    pub fn status(&self, object: &MirrorNode, now: Timestamp) -> MirrorNodeStatus {
        let before = object.status.clone().unwrap_or_default();
        let find = |kind: &str| before.conditions.iter().find(|condition| condition.type_ == kind);
        let generation = object.metadata.generation;
        let was_proven = find(condition::HONORED).filter(|known| known.status == "True");
        // A new agent has seen no pull yet, and the runtime is the one that was proven.
        let honored = match was_proven {
            Some(proven) if self.honored.status == "Unknown" && before.runtime == self.runtime => {
                Claim::new("True", proven.reason.clone(), proven.message.clone())
            }
            Some(_) | None => self.honored.clone(),
        };
        let conditions = [(condition::READY, &self.ready), (condition::HONORED, &honored)]
            .map(|(kind, claim)| condition_of(kind, claim, find(kind), generation, now));
        MirrorNodeStatus { runtime: self.runtime.clone(), conditions: conditions.into(), mirrors: self.mirrors.clone() }
    }
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

fn ready(mirrors: &[NodeMirror], problem: Option<&Problem>) -> Claim {
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
        None => Claim::new("True", "NoMirror", "no RegistryMirror selects this node"),
        Some(worst) if rank(worst.state) > 0 => {
            Claim::new("False", worst.reason.clone(), format!("mirror {}: {}", worst.name, worst.message))
        }
        Some(_) => Claim::new("True", "Configured", ""),
    }
}

fn honored(seen: &Seen) -> Claim {
    match &seen.support {
        Some(Support::OtherRuntime(message)) => Claim::new("False", "RuntimeUnsupported", message),
        _ if seen.honored => Claim::new("True", "PullSeen", "a pull of the node's runtime came through the mirror"),
        Some(Support::NotConfigured(message)) => Claim::new("Unknown", "RuntimeNotConfigured", message),
        Some(Support::Doubtful(message)) => Claim::new("Unknown", "NoPullSeen", message),
        Some(Support::Expected) | None => {
            Claim::new("Unknown", "NoPullSeen", "no pull of a mirrored registry has been seen on this node yet")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use tidepool_oci::RegistryName;

    use crate::{
        states::{Reach, Trouble},
        wanted::{Part, Role},
    };

    fn seen(reach: Reach, honored: bool) -> Seen {
        Seen {
            support: Some(Support::Expected),
            honored,
            listener: None,
            reach: BTreeMap::from([("u".to_owned(), reach)]),
            files: BTreeMap::from([(RegistryName::docker_hub(), Ok(()))]),
            edited: BTreeSet::new(),
        }
    }

    fn report(seen: &Seen, version: &str) -> Report {
        let role = Role::Serves { registries: vec![RegistryName::docker_hub()], lost: Vec::new() };
        let part = Part { mirror: "m".to_owned(), uid: "u".to_owned(), role };
        let wanted = Wanted { routes: BTreeMap::new(), mirrors: vec![part] };
        Report::new(&wanted, seen, None, RuntimeVersion::parse(&format!("containerd://{version}")).as_ref())
    }

    fn object(status: Option<MirrorNodeStatus>) -> MirrorNode {
        let mut object = MirrorNode { status, ..MirrorNode::default() };
        object.metadata.generation = Some(1);
        object
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn find<'a>(status: &'a MirrorNodeStatus, kind: &str) -> &'a Condition {
        status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
    }

    #[test]
    fn the_time_of_transition_moves_with_the_status_and_with_nothing_else() {
        let up = report(&seen(Reach::Up, false), "2.4.2").status(&object(None), at(1));
        assert_eq!((find(&up, "Ready").status.as_str(), find(&up, "Ready").observed_generation), ("True", Some(1)));
        let again = report(&seen(Reach::Up, false), "2.4.2").status(&object(Some(up.clone())), at(2));
        assert_eq!(again, up);
        let down = Reach::Down { why: Trouble::NoMember, long: true };
        let down = report(&seen(down, false), "2.4.2").status(&object(Some(up)), at(3));
        let ready = find(&down, "Ready");
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "NoMember"));
        assert_eq!(ready.last_transition_time, Time(at(3)));
        assert!(ready.message.starts_with("mirror m: "));
    }

    #[test]
    fn a_proven_runtime_stays_proven_over_a_restart_and_not_over_an_upgrade() {
        let proven = report(&seen(Reach::Up, true), "2.4.2").status(&object(None), at(1));
        assert_eq!(find(&proven, "Honored").status, "True");
        let restarted = report(&seen(Reach::Up, false), "2.4.2").status(&object(Some(proven.clone())), at(2));
        assert_eq!(restarted, proven);
        let upgraded = report(&seen(Reach::Up, false), "2.5.0").status(&object(Some(proven)), at(2));
        assert_eq!(find(&upgraded, "Honored").status, "Unknown");
    }

    #[test]
    fn a_document_that_cannot_be_read_outweighs_the_mirrors() {
        let problem = Problem::Unreadable("document version 2".to_owned());
        let report = Report::new(&Wanted::default(), &seen(Reach::Up, false), Some(&problem), None);
        let status = report.status(&object(None), at(1));
        assert!(find(&status, "Ready").message.contains("document version 2"));
    }
}
