//! What is said of several members and their claims.

use super::*;

fn member(number: usize, ready: i32) -> MemberFact {
    let name = format!("mirror-reef-{number}");
    MemberFact { name, ready, rolled_out: ready == 1, starting: ready == 0, ..ready_member() }
}

fn world(members: Vec<MemberFact>) -> World {
    let storage = claims(&vec![Some(claim(50, 50)); members.len()]);
    World { members, storage, ..World::good() }
}

fn message(world: &World, kind: &str) -> String {
    let status = world.status_at(0);
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().message.clone()
}

#[test]
fn a_mirror_serves_on_without_some_of_its_members_and_says_which_and_why() {
    let whole = world(vec![member(0, 1), member(1, 1), member(2, 1)]);
    assert_eq!((whole.says("CacheAvailable"), whole.says("Reconciling")), ("True/MemberReady".into(), String::new()));
    assert_eq!(message(&whole, "StorageReady"), "all 3 volumes are bound");
    let homeless = MemberFact { unschedulable: Some("0/2 nodes".into()), ..member(2, 0) };
    let part = world(vec![member(0, 1), member(1, 0), homeless]);
    assert_eq!(
        (part.says("Ready").as_str(), part.says("CacheAvailable").as_str()),
        ("True/Available", "True/MembersMissing")
    );
    let told = message(&part, "CacheAvailable");
    for words in
        ["1 of 3", "mirror-reef-1: the member starts", "mirror-reef-2: the member's pod finds no node: 0/2 nodes"]
    {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(part.says("Reconciling"), "True/RolloutFailed");
    assert!(message(&part, "Reconciling").starts_with("mirror-reef-2: "), "{}", message(&part, "Reconciling"));
    let counts = part.status_at(0).members.unwrap();
    assert_eq!((counts.desired, counts.ready), (3, 1));
    let none = world(vec![member(0, 0), member(1, 0)]);
    assert_eq!(none.says("CacheAvailable"), "False/RollingOut");
}

#[test]
fn pods_of_one_deployment_are_counted_alike() {
    let pods = |ready| MemberFact {
        name: "mirror-reef-ephemeral".into(),
        desired: 3,
        starting: ready < 3,
        ..member(0, ready)
    };
    let part = World { members: vec![pods(2)], ..World::good() };
    assert!(
        message(&part, "CacheAvailable").starts_with("2 of 3 members ready"),
        "{}",
        message(&part, "CacheAvailable")
    );
    assert_eq!(part.says("Ready"), "True/Available");
}

#[test]
fn storage_is_ready_when_all_claims_are_and_the_worst_is_named() {
    let unbound = || Some(ClaimFound { bound: false, capacity: None, ..claim(50, 0) });
    for (found, reason, words) in [
        ([Some(claim(50, 50)), None], "False/Pending", "mirror-reef-1: the claim was not made yet"),
        ([unbound(), Some(claim(50, 40))], "False/Pending", "mirror-reef-0: the claim waits"),
        ([Some(claim(50, 50)), Some(claim(50, 40))], "False/Resizing", "mirror-reef-1: the volume grows"),
        (
            [Some(claim(50, 40)), Some(claim(40, 40))],
            "False/ExpansionUnsupported",
            "mirror-reef-1: the claim stays at 40Gi",
        ),
    ] {
        let world = World { storage: claims(&found), ..world(vec![member(0, 1), member(1, 1)]) };
        assert_eq!(world.says("StorageReady"), reason);
        assert!(message(&world, "StorageReady").contains(words), "{}", message(&world, "StorageReady"));
    }
}

#[test]
fn claims_that_former_members_left_are_named_once() {
    let with = |kept: &[&str]| {
        let mut world = world(vec![member(0, 1)]);
        world.storage.kept = kept.iter().map(|&name| name.to_owned()).collect();
        world
    };
    let (none, one, two) = (with(&[]), with(&["mirror-reef-2"]), with(&["mirror-reef-1", "mirror-reef-2"]));
    assert_eq!(
        message(&two, "StorageReady"),
        "the volume is bound; kept of former members: mirror-reef-1, mirror-reef-2"
    );
    assert_eq!(two.says("StorageReady"), "True/Bound");
    let told = |before: &World, after: &World| {
        let mut told = notices(Some(&before.status_at(0)), &after.status_at(1));
        assert!(told.len() <= 1, "{told:?}");
        told.pop().map(|notice| (notice.reason, notice.note))
    };
    let (reason, note) = told(&none, &two).unwrap();
    assert!(
        reason == "ClaimsKept" && note.contains("mirror-reef-1, mirror-reef-2") && note.contains("replicas"),
        "{note}"
    );
    assert!(told(&one, &two).unwrap().1.contains("what they hold: mirror-reef-1:"), "only what is new");
    assert_eq!(told(&two, &two), None);
    assert_eq!(told(&two, &one), None, "what is used again is no news");
}

#[test]
fn former_members_that_serve_keep_the_mirror_ready_and_are_named() {
    let former = |number: usize| MemberFact {
        name: format!("mirror-reef-{number}"),
        ready: 1,
        former: true,
        ..MemberFact::default()
    };
    let homeless = MemberFact { unschedulable: Some("0/2 nodes".into()), ..member(0, 0) };
    for first in [member(0, 0), homeless] {
        let world = World { members: vec![first, former(1), former(2)], ..World::good() };
        assert_eq!(
            (world.says("Ready"), world.says("CacheAvailable")),
            ("True/Available".into(), "True/MembersMissing".into())
        );
        let told = message(&world, "CacheAvailable");
        assert!(told.starts_with("0 of 1 members ready, and of former ones mirror-reef-1, mirror-reef-2,"), "{told}");
        assert!(world.says("Reconciling").starts_with("True/"));
        let counts = world.status_at(0).members.unwrap();
        assert_eq!((counts.desired, counts.ready, counts.version.as_deref()), (1, 0, Some("0.1.0")));
    }
    let world = World { members: vec![member(0, 0), former(1)], ..World::good() };
    assert!(message(&world, "Reconciling").contains("mirror-reef-1"), "{}", message(&world, "Reconciling"));
}

#[test]
fn a_version_is_told_once_all_members_have_it() {
    let new = MemberFact { image: Some("reg.io/tidepool:0.2.0".into()), ..member(0, 1) };
    let version = |members| world(members).status_at(0).members.unwrap().version;
    assert_eq!(version(vec![new.clone(), member(1, 1)]), None);
    assert_eq!(version(vec![new.clone(), new]).as_deref(), Some("0.2.0"));
}
