//! Status from facts, condition by condition.

mod invalid;
mod members;
mod nodes;
mod reported;

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    Reason, notices,
    testing::{MINIMAL, mirror, valid},
};

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn ready_member() -> MemberFact {
    let (name, image) = ("mirror-reef-0".to_owned(), Some("reg.io/tidepool:0.1.0".to_owned()));
    MemberFact { name, desired: 1, ready: 1, rolled_out: true, image, ..MemberFact::default() }
}

fn bound() -> StorageFact {
    claims(&[Some(claim(50, 50))])
}

/// A bound claim of this many GiB, with a volume of so many.
fn claim(requested: u64, capacity: u64) -> ClaimFound {
    let capacity = Some(capacity << 30);
    ClaimFound { bound: true, class: Some("fast".into()), requested: requested << 30, capacity }
}

/// The claims of members 0, 1 and so on.
fn claims(found: &[Option<ClaimFound>]) -> StorageFact {
    let state = |(number, found): (usize, &Option<ClaimFound>)| ClaimState {
        name: format!("mirror-reef-{number}"),
        found: found.clone(),
    };
    StorageFact { claims: found.iter().enumerate().map(state).collect(), kept: Vec::new() }
}

struct World {
    mirror: RegistryMirror,
    faults: Vec<Invalid>,
    members: Vec<MemberFact>,
    storage: StorageFact,
    no_default_class: bool,
    nodes: Option<Tally>,
    failure: Option<String>,
    waiting: Option<String>,
    reports: Reports,
    ingress: bool,
}

impl World {
    fn good() -> Self {
        let (mirror, members) = (mirror(MINIMAL), vec![ready_member()]);
        let (faults, reports) = (vec![], Reports::default());
        Self {
            mirror,
            faults,
            members,
            storage: bound(),
            no_default_class: false,
            nodes: None,
            failure: None,
            waiting: None,
            reports,
            ingress: false,
        }
    }

    fn status_at(&self, second: i64) -> RegistryMirrorStatus {
        let valid = valid(MINIMAL);
        let verdict = if self.faults.is_empty() { Verdict::Valid(&valid) } else { Verdict::Invalid(&self.faults) };
        let seen = Seen {
            mirror: &self.mirror,
            verdict,
            failure: self.failure.clone(),
            waiting: self.waiting.clone(),
            reports: self.reports.clone(),
            namespace: "deep",
            members: self.members.clone(),
            storage: self.storage.clone(),
            no_default_class: self.no_default_class,
            nodes: self.nodes.clone(),
            ingress: self.ingress,
        };
        status(&seen, &at(second))
    }

    /// `True/Reason` of a condition, or nothing.
    fn says(&self, kind: &str) -> String {
        let status = self.status_at(0);
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind);
        condition.map(|condition| format!("{}/{}", condition.status, condition.reason)).unwrap_or_default()
    }
}

#[test]
fn a_mirror_whose_cache_serves_is_ready_whatever_its_nodes_do() {
    let world = World::good();
    assert_eq!(world.says("Ready"), "True/Available");
    assert_eq!(world.says("NodesConfigured"), "False/Pending");
    assert_eq!((world.says("Reconciling"), world.says("Stalled")), (String::new(), String::new()));
    let status = world.status_at(0);
    assert_eq!(status.observed_generation, Some(3));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    assert_eq!(status.address.unwrap().service.as_deref(), Some("mirror-reef.deep.svc:5000"));
    assert_eq!(status.members.unwrap().version.as_deref(), Some("0.1.0"));
    assert_eq!(status.registries.as_deref(), Some("docker.io,ghcr.io"));
    assert_eq!(status.upstreams[0].url, "https://registry-1.docker.io");
}

#[test]
fn why_no_member_is_ready_is_the_reason_of_ready() {
    let down = |member: MemberFact| {
        let member = MemberFact { desired: 1, image: None, ..member };
        World { members: vec![member], ..World::good() }
    };
    let starting = down(MemberFact { starting: true, ..MemberFact::default() });
    assert_eq!(
        (starting.says("Ready").as_str(), starting.says("Reconciling").as_str()),
        ("False/RollingOut", "True/Progressing")
    );
    let homeless = down(MemberFact { unschedulable: Some("0/2 nodes".into()), ..MemberFact::default() });
    assert_eq!(homeless.says("Ready"), "False/Unschedulable");
    let broken = down(MemberFact { trouble: Some("ImagePullBackOff".into()), starting: true, ..MemberFact::default() });
    assert_eq!(broken.says("Ready"), "False/NoReadyMember");
    assert_eq!(World { members: vec![], ..World::good() }.says("Ready"), "False/NoReadyMember");
}

#[test]
fn a_rollout_that_is_stuck_is_told_while_the_old_pod_serves() {
    let why = || Some("serviceaccount nope not found".to_owned());
    let stuck = MemberFact { rolled_out: false, starting: true, ..ready_member() };
    let progressing = World { members: vec![stuck.clone()], ..World::good() };
    assert_eq!(progressing.says("Reconciling"), "True/Progressing");
    for stuck in [
        MemberFact { refused: why(), ..stuck.clone() },
        MemberFact { trouble: why(), ..stuck.clone() },
        MemberFact { unschedulable: why(), ..stuck },
    ] {
        let world = World { members: vec![stuck.clone()], ..World::good() };
        assert_eq!(
            (world.says("Ready").as_str(), world.says("Reconciling").as_str()),
            ("True/Available", "True/RolloutFailed")
        );
        let told = notices(Some(&progressing.status_at(0)), &world.status_at(1));
        assert!(matches!(&told[..], [notice] if notice.warning && notice.note.contains("nope")), "{told:?}");
        assert!(notices(Some(&world.status_at(1)), &world.status_at(2)).is_empty(), "once");
        let down = World { members: vec![MemberFact { ready: 0, ..stuck }], ..World::good() };
        assert!(matches!(down.says("Ready").as_str(), "False/NoReadyMember" | "False/Unschedulable"));
        let message = &down.status_at(0).conditions[0].message;
        assert!(message.contains("nope"), "{message}");
    }
}

#[test]
fn a_missing_default_class_is_named_with_the_way_out() {
    let storage = claims(&[Some(ClaimFound { bound: false, class: None, requested: 1, capacity: None })]);
    let mut world = World { storage, no_default_class: true, members: vec![], ..World::good() };
    assert_eq!(world.says("Ready"), "False/NoDefaultStorageClass");
    assert_eq!(world.says("Stalled"), "True/NoDefaultStorageClass");
    let status = world.status_at(0);
    assert!(status.conditions.iter().any(|condition| condition.message.contains("storage: {type: Ephemeral}")));
    world.no_default_class = false;
    assert_eq!(world.says("StorageReady"), "False/Pending");
    assert_eq!(world.says("Stalled"), "");
}

#[test]
fn a_volume_that_grows_or_cannot_says_so_and_the_cache_stays_ready() {
    let growing = World { storage: claims(&[Some(claim(50, 40))]), ..World::good() };
    assert_eq!(growing.says("StorageReady"), "False/Resizing");
    assert_eq!(growing.says("Ready"), "True/Available");
    let stuck = World { storage: claims(&[Some(claim(40, 40))]), ..World::good() };
    assert_eq!(stuck.says("StorageReady"), "False/ExpansionUnsupported");
}

#[test]
fn a_transition_time_changes_with_the_status_alone() {
    let mut world = World::good();
    let first = world.status_at(100);
    world.mirror.status = Some(first.clone());
    assert_eq!(world.status_at(200), first, "nothing changed, so there is nothing to write");
    world.members[0].ready = 0;
    world.members[0].starting = true;
    let second = world.status_at(300);
    let time = |status: &RegistryMirrorStatus, kind: &str| {
        status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().last_transition_time.clone()
    };
    assert_eq!(time(&second, "Ready"), at(300));
    assert_eq!(time(&second, "Accepted"), at(100));
    world.mirror.status = Some(second);
    world.members[0].starting = false;
    let third = world.status_at(400);
    assert_eq!(time(&third, "Ready"), at(300), "another reason is no transition");
}

#[test]
fn events_tell_changes_and_stay_silent_otherwise() {
    let mut world = World::good();
    let good = world.status_at(0);
    let reasons = |before: Option<&RegistryMirrorStatus>, after: &RegistryMirrorStatus| {
        notices(before, after).into_iter().map(|notice| notice.reason).collect::<Vec<_>>()
    };
    assert_eq!(reasons(None, &good), ["Available"]);
    assert!(reasons(Some(&good), &good).is_empty());
    let fault = |message: &str| {
        vec![Invalid { reason: Reason::InvalidSpec, field: "spec.upstreams".into(), message: message.into() }]
    };
    world.faults = fault("one");
    let bad = world.status_at(0);
    assert_eq!(reasons(Some(&good), &bad), ["InvalidSpec"]);
    assert!(reasons(Some(&bad), &bad).is_empty());
    world.faults = fault("two");
    assert_eq!(reasons(Some(&bad), &world.status_at(0)), ["InvalidSpec"], "another fault is news");
    assert_eq!(reasons(Some(&bad), &good), ["Available", "Valid"]);
}

#[test]
fn an_error_of_the_api_server_is_told() {
    let world = World { failure: Some("cannot apply Deployment mirror-reef-0: quota".into()), ..World::good() };
    assert_eq!(world.says("Reconciling"), "True/ApplyFailed");
    assert_eq!(world.says("Ready"), "True/Available", "what serves goes on serving");
    assert_eq!(World { members: vec![], ..world }.says("Ready"), "False/ApplyFailed");
}
