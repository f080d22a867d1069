//! The status of this node's MirrorNode, from what the agent has seen and what the object said before. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidepool_api::{
    MirrorNode, MirrorNodeStatus, MirrorState, NodeMirror, Runtime, RuntimeConfiguration, honored,
    mirror_node_condition as condition,
};

use crate::{
    honored::Evidence,
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
    /// What the agent knows itself. What it does not know it leaves to the operator, who finds out by a probe pod.
    honored: Option<Claim>,
    /// Whether nothing is there that the runtime could honor, and a verdict of before is nobody's any more.
    is_idle: bool,
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
        let is_idle = problem.is_none() && !mirrors.iter().any(uses);
        Self { runtime, ready: ready(&mirrors, problem), honored, is_idle, mirrors }
    }

    /// What an agent leaves behind that is gone for good.
    #[must_use]
    pub fn stopped(runtime: Option<&RuntimeVersion>) -> Self {
        let message = "the agent was taken from this node for good, and its files with it";
        let ready = Claim::new("False", "AgentStopped", message);
        Self { ready, ..Self::new(&Wanted::default(), &Seen::default(), None, runtime) }
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
        if honored::is_the_operators(&stands.reason) && !self.is_idle {
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
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use tidepool_oci::RegistryName;

    use crate::{
        states::{Reach, Trouble},
        wanted::{Part, Role},
    };

    fn seen(reach: Reach, honored: bool) -> Seen {
        let honored = honored.then_some(Evidence::Pull);
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
        let honored = find(&upgraded, "Honored");
        assert_eq!((honored.status.as_str(), honored.reason.as_str()), ("Unknown", "Unproven"));
    }

    #[test]
    fn n5_who_knows_nothing_leaves_honored_to_the_operator() {
        let none = report(&seen(Reach::Up, false), "2.4.2");
        let first = none.status(&object(None), at(1));
        assert!(first.conditions.iter().all(|condition| condition.type_ != "Honored"), "nobody asked yet");
        let mut probing = first.clone();
        let claim = Claim::new("Unknown", honored::PROBING, "");
        probing.conditions.push(condition_of("Honored", &claim, None, Some(1), at(2)));
        let object_probing = object(Some(probing.clone()));
        let again = none.status(&object_probing, at(3));
        assert_eq!(again, first, "the operator's word is not the agent's to repeat");
        assert!(is_said(&again, &object_probing), "nor a reason to write");
        let proven = report(&seen(Reach::Up, true), "2.4.2").status(&object_probing, at(4));
        assert_eq!(find(&proven, "Honored").reason, "PullSeen");
        assert!(!is_said(&proven, &object_probing));
    }

    #[test]
    fn n5_a_verdict_goes_when_the_node_has_no_files_any_more_and_not_while_the_agent_is_told_nothing() {
        let mut judged = report(&seen(Reach::Up, false), "2.4.2").status(&object(None), at(1));
        let claim = Claim::new("False", honored::NOT_HONORED, "restart containerd");
        judged.conditions.push(condition_of("Honored", &claim, None, Some(1), at(2)));
        let runtime = RuntimeVersion::parse("containerd://2.4.2");
        let none = |problem: Option<&Problem>| {
            let report = Report::new(&Wanted::default(), &seen(Reach::Up, false), problem, runtime.as_ref());
            report.status(&object(Some(judged.clone())), at(3))
        };
        assert_eq!(find(&none(None), "Honored").reason, "Unproven");
        let untold = none(Some(&Problem::Missing));
        assert!(untold.conditions.iter().all(|condition| condition.type_ != "Honored"), "{untold:?}");
    }

    #[test]
    fn n5_what_the_agent_said_and_knows_no_more_is_taken_back_in_words() {
        let mut not_configured = seen(Reach::Up, false);
        not_configured.support = Some(Support::NotConfigured("add".to_owned()));
        let said = report(&not_configured, "2.4.2").status(&object(None), at(1));
        assert_eq!((find(&said, "Honored").status.as_str(), find(&said, "Ready").status.as_str()), ("False", "False"));
        let mended = report(&seen(Reach::Up, false), "2.4.2").status(&object(Some(said)), at(2));
        assert_eq!(
            (find(&mended, "Honored").status.as_str(), find(&mended, "Honored").reason.as_str()),
            ("Unknown", "Unproven")
        );
    }

    #[test]
    fn n5_a_proof_does_not_outlive_the_configuration_under_which_it_was_seen() {
        let proven = report(&seen(Reach::Up, true), "2.4.2").status(&object(None), at(1));
        let mut doubtful = seen(Reach::Up, false);
        doubtful.support = Some(Support::Doubtful("a list".to_owned()));
        let changed = report(&doubtful, "2.4.2").status(&object(Some(proven)), at(2));
        assert_eq!(find(&changed, "Honored").reason, "Unproven");
        assert_eq!(changed.runtime.unwrap().advice.as_deref(), Some("a list"));
    }

    #[test]
    fn a_document_that_cannot_be_read_outweighs_the_mirrors() {
        let problem = Problem::Unreadable("document version 2".to_owned());
        let report = Report::new(&Wanted::default(), &seen(Reach::Up, false), Some(&problem), None);
        let status = report.status(&object(None), at(1));
        assert!(find(&status, "Ready").message.contains("document version 2"));
    }
}
