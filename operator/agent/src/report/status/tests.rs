//! What a report makes of what an object said before.

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
    assert_eq!(find(&none(None), "Honored").reason, "NoMirror");
    let untold = none(Some(&Problem::Missing));
    assert!(untold.conditions.iter().all(|condition| condition.type_ != "Honored"), "{untold:?}");
}

#[test]
fn n5_a_node_with_which_no_mirror_has_to_do_says_why_whatever_it_did_before() {
    let part = |role| Part { mirror: "m".to_owned(), uid: "u".to_owned(), role };
    let of = |role, seen: &Seen| {
        let wanted = Wanted { routes: BTreeMap::new(), mirrors: vec![part(role)] };
        let runtime = RuntimeVersion::parse("containerd://2.4.2");
        let status = Report::new(&wanted, seen, None, runtime.as_ref()).status(&object(None), at(1));
        let honored = find(&status, "Honored");
        (honored.status.clone(), honored.reason.clone(), honored.message.clone())
    };
    let (status, reason, message) = of(Role::Excluded, &seen(Reach::Up, true));
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "NodeExcluded"));
    assert!(message.contains("remove it to use the mirror"), "{message}");
    assert_eq!(of(Role::Withdrawn, &seen(Reach::Up, false)).1, "WithdrawRequested");
    let mut not_configured = seen(Reach::Up, false);
    not_configured.support = Some(Support::NotConfigured("add".to_owned()));
    let looking = of(Role::ReportOnly(vec![RegistryName::docker_hub()]), &not_configured);
    assert_eq!((looking.0.as_str(), looking.1.as_str()), ("False", "RuntimeNotConfigured"));
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
