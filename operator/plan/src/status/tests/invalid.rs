//! What is told while the spec is not in use, or not yet.

use tidepool_config::{CredentialState, ProxyState, Reach, UpstreamState};

use super::*;

fn fault() -> Invalid {
    Invalid { reason: Reason::InvalidSpec, field: "spec.upstreams[0].url".into(), message: "mend it".into() }
}

fn with_ingress(host: &str) -> World {
    World { mirror: mirror(&format!("{MINIMAL}\ningress: {{host: {host}}}")), ..World::good() }
}

fn ingress(world: &World) -> Option<String> {
    world.status_at(0).address.unwrap().ingress
}

#[test]
fn an_invalid_spec_stalls_names_the_field_and_leaves_the_cache_as_it_is() {
    let mut world = World::good();
    world.faults = vec![fault()];
    assert_eq!(world.says("Ready"), "False/InvalidSpec");
    assert_eq!(world.says("Stalled"), "True/InvalidSpec");
    assert_eq!(world.says("CacheAvailable"), "True/MemberReady");
    assert_eq!(world.says("Reconciling"), "");
    let status = world.status_at(0);
    let accepted = status.conditions.iter().find(|condition| condition.type_ == "Accepted").unwrap();
    assert!(accepted.message.starts_with("spec.upstreams[0].url: "), "{}", accepted.message);
}

#[test]
fn the_address_of_an_ingress_is_told_once_there_is_one() {
    let mut world = with_ingress("a.io");
    assert_eq!(ingress(&world), None);
    world.ingress = true;
    assert_eq!(ingress(&world).as_deref(), Some("a.io"));
}

#[test]
fn what_is_in_use_stays_in_the_status_while_the_spec_cannot_be_used() {
    let before = World { ingress: true, ..with_ingress("a.io") }.status_at(0);
    for failed in [false, true] {
        let mut world = World { ingress: true, ..with_ingress("b.io") };
        if failed {
            world.failure = Some("cannot apply Ingress mirror-reef".into());
        } else {
            world.faults = vec![fault()];
        }
        assert_eq!(ingress(&world), None, "of this nothing is in use");
        world.mirror.status = Some(before.clone());
        assert_eq!(ingress(&world).as_deref(), Some("a.io"));
    }
}

#[test]
fn registries_and_credentials_that_are_not_in_use_say_nothing() {
    let reported = |registry: &str| {
        let registry = registry.parse().unwrap();
        let (reach, credentials) = (Reach::Reachable, CredentialState::Accepted);
        let upstreams = vec![UpstreamState { registry, reach, credentials, message: None, health: Default::default() }];
        let state = ProxyState { revision: None, reload_error: None, upstreams };
        Reports { wanted: None, members: vec![Report { pod: "a".into(), answer: Answer::State(state) }] }
    };
    let private = |name: &str| {
        let spec = format!("upstreams: [{{registry: {name}, credentials: {{secretRef: {{name: login}}}}}}]");
        World { mirror: mirror(&spec), reports: reported("ghcr.io"), ..World::good() }
    };
    let before = private("ghcr.io");
    let mut after = World { faults: vec![fault()], ..private("quay.io") };
    for kind in ["CredentialsValid", "UpstreamsReachable"] {
        assert_eq!(after.says(kind), "Unknown/Untried");
    }
    after.mirror.status = Some(before.status_at(0));
    for kind in ["CredentialsValid", "UpstreamsReachable"] {
        let condition = |status: RegistryMirrorStatus| {
            let found = status.conditions.into_iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status, found.reason, found.message, found.last_transition_time)
        };
        assert_eq!(before.says(kind).split_once('/').unwrap().0, "True");
        assert_eq!(condition(after.status_at(9)), condition(before.status_at(0)));
    }
    // Credentials that were taken out of a spec that cannot be used are used still.
    after.mirror.spec.upstreams[0].credentials = None;
    assert_eq!(after.says("CredentialsValid"), "True/Accepted");
}
