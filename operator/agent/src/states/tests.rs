//! What is said of each state.

use super::*;

fn seen() -> Seen {
    Seen {
        support: Some(Support::Expected),
        honored: None,
        listener: None,
        reach: [("u".to_owned(), Reach::Up)].into(),
        files: [(RegistryName::docker_hub(), Ok(()))].into(),
        edited: BTreeSet::new(),
    }
}

fn verdict(change: impl FnOnce(&mut Seen)) -> (MirrorState, String, String) {
    let role = Role::Serves { registries: vec![RegistryName::docker_hub()], lost: Vec::new() };
    let part = Part { mirror: "m".to_owned(), uid: "u".to_owned(), role };
    let mut seen = seen();
    change(&mut seen);
    let mirror = state_of(&part, &seen);
    (mirror.state, mirror.reason, mirror.message)
}

#[test]
fn a_mirror_with_files_and_a_member_is_active_and_has_nothing_to_say() {
    assert_eq!(verdict(|_| ()), (MirrorState::Active, "Serving".to_owned(), String::new()));
}

#[test]
fn every_state_that_wants_something_done_says_what() {
    let down = |why, long| move |seen: &mut Seen| seen.reach = [("u".to_owned(), Reach::Down { why, long })].into();
    let no_file = |seen: &mut Seen| seen.files.clear();
    let problem = |unsupported| {
        move |seen: &mut Seen| {
            let problem = FileProblem { unsupported, reason: "DiskFull", message: "free space on it".to_owned() };
            seen.files.insert(RegistryName::docker_hub(), Err(problem));
        }
    };
    for (got, state, reason, says) in [
        (verdict(down(Trouble::NoMember, true)), MirrorState::Bypassing, "NoMember", "tidepool.dev/mirror=m"),
        (verdict(down(Trouble::Silent(2), true)), MirrorState::Bypassing, "MemberUnreachable", "5443"),
        (verdict(down(Trouble::Untrusted(2), true)), MirrorState::Bypassing, "MemberUntrusted", "clock"),
        (verdict(down(Trouble::NoIdentity, true)), MirrorState::Bypassing, "NoIdentity", "tidepool-agent-identity"),
        (verdict(down(Trouble::Silent(2), false)), MirrorState::Active, "Serving", ""),
        (
            verdict(|seen| {
                no_file(seen);
                down(Trouble::NoIdentity, false)(seen)
            }),
            MirrorState::Pending,
            "NoIdentity",
            "operator",
        ),
        (
            verdict(|seen| {
                no_file(seen);
                down(Trouble::NoMember, false)(seen)
            }),
            MirrorState::Pending,
            "NoMember",
            "pods",
        ),
        (verdict(no_file), MirrorState::Pending, "Writing", "files"),
        (verdict(problem(true)), MirrorState::Unsupported, "DiskFull", "free space"),
        (verdict(problem(false)), MirrorState::Pending, "DiskFull", "free space"),
        (verdict(|seen| seen.listener = Some("port taken".into())), MirrorState::Pending, "ListenerFailed", "port"),
        (verdict(|seen| seen.support = None), MirrorState::Pending, "RuntimeUnknown", "kubelet"),
        (
            verdict(|seen| seen.support = Some(Support::OtherRuntime("no".into()))),
            MirrorState::Unsupported,
            "RuntimeUnsupported",
            "no",
        ),
        (
            verdict(|seen| seen.support = Some(Support::NotConfigured("add".into()))),
            MirrorState::Unsupported,
            "RuntimeNotConfigured",
            "add",
        ),
        (
            verdict(|seen| seen.support = Some(Support::Native("patch".into()))),
            MirrorState::Unsupported,
            "NativeConfiguration",
            "patch",
        ),
        (verdict(|seen| seen.edited = [RegistryName::docker_hub()].into()), MirrorState::Active, "EditKept", "exclude"),
    ] {
        assert_eq!((got.0, got.1.as_str()), (state, reason));
        assert!(got.2.contains(says), "{reason}: {}", got.2);
    }
}

#[test]
fn a_shadowed_mirror_says_by_whom() {
    let role = Role::Shadowed(vec![(RegistryName::docker_hub(), "fast".to_owned())]);
    let shadowed = state_of(&Part { mirror: "m".to_owned(), uid: "u".to_owned(), role }, &seen());
    assert_eq!(shadowed.state, MirrorState::Shadowed);
    assert!(shadowed.message.contains("docker.io by fast") && shadowed.message.contains("priority"));
}

#[test]
fn a_pull_that_was_seen_beats_what_the_configuration_seems_to_say() {
    let got = verdict(|seen| {
        seen.support = Some(Support::NotConfigured("add".to_owned()));
        seen.honored = Some(Evidence::Pull);
    });
    assert_eq!(got.0, MirrorState::Active);
    let native = verdict(|seen| {
        seen.support = Some(Support::Native("patch".to_owned()));
        seen.honored = Some(Evidence::Pull);
        seen.files.clear();
    });
    assert_eq!(native.0, MirrorState::Active);
}
