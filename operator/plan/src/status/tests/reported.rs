//! Conditions that are made of what members report.

use tidepool_config::{CredentialState, ProxyState, Reach, UpstreamState};

use super::*;

const PRIVATE: &str =
    "upstreams: [{registry: docker.io}, {registry: ghcr.io, credentials: {secretRef: {name: login}}}]";

fn upstream(registry: &str, reach: Reach, credentials: CredentialState) -> UpstreamState {
    UpstreamState {
        registry: registry.parse().unwrap(),
        reach,
        credentials,
        message: Some("it said so".into()),
        health: Default::default(),
    }
}

fn state(upstreams: Vec<UpstreamState>) -> Answer {
    Answer::State(ProxyState { revision: Some("new".into()), reload_error: None, upstreams })
}

fn ghcr(reach: Reach, credentials: CredentialState) -> Answer {
    state(vec![upstream("ghcr.io", reach, credentials)])
}

fn world(spec: &str, answers: &[Answer]) -> World {
    let members = answers.iter().enumerate();
    let members = members.map(|(n, answer)| Report { pod: format!("pod-{n}"), answer: answer.clone() }).collect();
    let reports = Reports { wanted: Some("new".into()), members };
    World { mirror: mirror(spec), reports, ..World::good() }
}

fn message(world: &World, kind: &str) -> String {
    world.status_at(0).conditions.into_iter().find(|it| it.type_ == kind).unwrap().message
}

#[test]
fn credentials_are_valid_when_the_registry_takes_them() {
    use CredentialState::{Accepted, Refused, Untried};
    let says = |answers: &[Answer]| world(PRIVATE, answers).says("CredentialsValid");
    let good = ghcr(Reach::Reachable, Accepted);
    assert_eq!(world(MINIMAL, &[]).says("CredentialsValid"), "True/Unused");
    assert_eq!(says(std::slice::from_ref(&good)), "True/Accepted");
    assert_eq!(says(&[ghcr(Reach::Unknown, Untried)]), "Unknown/Untried");
    assert_eq!(says(&[good.clone(), ghcr(Reach::Unknown, Untried)]), "True/Accepted");
    assert_eq!(says(&[Answer::NotAsked]), "Unknown/Untried");
    assert_eq!(says(&[Answer::Silent]), "Unknown/MembersUnreachable");
    assert_eq!(says(&[]), "Unknown/MembersUnreachable");
    let refused = world(PRIVATE, &[good, ghcr(Reach::Reachable, Refused)]);
    assert_eq!(refused.says("CredentialsValid"), "False/Unauthorized");
    let text = message(&refused, "CredentialsValid");
    assert!(text.contains("ghcr.io") && text.contains("Secret login") && text.ends_with("that it takes"), "{text}");
    assert_eq!(refused.says("Ready"), "True/Available", "what is kept is served");
}

#[test]
fn a_registry_that_is_away_is_told_and_the_mirror_stays_ready() {
    let says = |reach| {
        let world = world(PRIVATE, &[ghcr(reach, CredentialState::Untried)]);
        (world.says("UpstreamsReachable"), world.says("Ready"))
    };
    let ready = || "True/Available".to_owned();
    assert_eq!(says(Reach::Reachable), ("True/Reachable".to_owned(), ready()));
    assert_eq!(says(Reach::RateLimited), ("False/RateLimited".to_owned(), ready()));
    assert_eq!(says(Reach::Unreachable), ("False/Unreachable".to_owned(), ready()));
    assert_eq!(says(Reach::Unknown), ("Unknown/Untried".to_owned(), ready()));
    let text = message(&world(PRIVATE, &[ghcr(Reach::Unreachable, CredentialState::Untried)]), "UpstreamsReachable");
    assert!(text.starts_with("ghcr.io cannot be reached (it said so): what is kept is served"), "{text}");
}

#[test]
fn an_outage_is_written_once_whatever_members_say_of_it() {
    let down = |text: &str| {
        let mut upstream = upstream("ghcr.io", Reach::Unreachable, CredentialState::Untried);
        upstream.message = Some(text.to_owned());
        world(PRIVATE, &[state(vec![upstream])])
    };
    let before = down("connection refused").status_at(0);
    let mut after = down("timed out");
    after.mirror.status = Some(before.clone());
    assert_eq!(after.status_at(9), before);
}

#[test]
fn a_new_leader_that_has_asked_nobody_yet_changes_nothing() {
    use CredentialState::{Accepted, Refused};
    for answer in [ghcr(Reach::Reachable, Accepted), ghcr(Reach::Unreachable, Refused)] {
        for wanted in ["new", "newer"] {
            let mut before = world(PRIVATE, std::slice::from_ref(&answer));
            before.reports.wanted = Some(wanted.into());
            let status = before.status_at(0);
            let mut after = World { reports: before.reports.clone(), ..before };
            after.reports.members[0].answer = Answer::NotAsked;
            after.mirror.status = Some(status.clone());
            assert_eq!(after.status_at(9), status, "{wanted}");
        }
    }
}

#[test]
fn the_mirror_is_on_its_way_until_all_ready_members_have_the_configuration() {
    let loaded = |revision: &str, error: Option<&str>| {
        let reload_error = error.map(str::to_owned);
        Answer::State(ProxyState { revision: Some(revision.into()), reload_error, upstreams: vec![] })
    };
    let seen = |answers: &[Answer]| {
        let world = world(MINIMAL, answers);
        (world.says("Reconciling"), world.status_at(0).members.unwrap().revision)
    };
    let loading = || ("True/LoadingConfiguration".to_owned(), None);
    assert_eq!(seen(&[loaded("new", None), loaded("new", None)]), (String::new(), Some("new".to_owned())));
    assert_eq!(seen(&[loaded("new", None), loaded("old", None)]), loading());
    assert_eq!(seen(&[loaded("old", None)]).0, "True/LoadingConfiguration");
    assert_eq!(seen(&[loaded("new", None), Answer::Silent]), (String::new(), None));
    let refused = world(MINIMAL, &[loaded("old", Some("tls.crt is no certificate"))]);
    assert!(message(&refused, "Reconciling").contains("pod-0") && message(&refused, "Reconciling").contains("tls.crt"));
    let turn = World { waiting: Some("mirror public rolls".into()), ..world(MINIMAL, &[]) };
    assert_eq!(turn.says("Reconciling"), "True/WaitingForTurn");
}

#[test]
fn events_tell_that_credentials_were_refused_and_that_they_are_taken_again() {
    use CredentialState::{Accepted, Refused, Untried};
    let status = |credentials| world(PRIVATE, &[ghcr(Reach::Reachable, credentials)]).status_at(0);
    let told = |before: &RegistryMirrorStatus, after: &RegistryMirrorStatus| {
        notices(Some(before), after).into_iter().map(|it| (it.reason, it.warning)).collect::<Vec<_>>()
    };
    let (good, bad, untried) = (status(Accepted), status(Refused), status(Untried));
    assert_eq!(told(&good, &bad), [("CredentialsRefused".to_owned(), true)]);
    assert_eq!(told(&bad, &good), [("CredentialsAccepted".to_owned(), false)]);
    assert_eq!(told(&bad, &bad), []);
    assert_eq!((told(&good, &untried), told(&untried, &good)), (vec![], vec![]));
}
