//! `validate` on small specs: each fault with its field, and a message that says what to do.

mod secrets;

use super::*;
use crate::{
    ClaimFact, ClassFact, ValidStorage,
    testing::{self, MINIMAL, PEM, faults, mirror, secret, valid, with},
};
use tidepool_config::Mode;

fn config_map(name: &str, key: &str, text: &str) -> Referenced {
    with([testing::config_map(name, &[(key, text)])])
}

fn one_fault(spec: &str, referenced: &Referenced) -> Invalid {
    let mut all = faults(spec, referenced);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn the_minimal_mirror_is_valid_and_gets_the_defaults() {
    let mirror = valid(MINIMAL);
    assert_eq!(mirror.mode, Mode::Configure);
    assert!(matches!(&mirror.storage, ValidStorage::Volume { claims, class: None, .. } if claims[&0].0 == 50 << 30));
}

#[test]
fn faults_of_a_spec_name_the_field_and_the_remedy() {
    for (spec, field, remedy) in [
        ("upstreams: []", "spec.upstreams", "add one"),
        ("upstreams: [{registry: a.io}, {registry: a.io}]", "spec.upstreams[1].registry", "keep one"),
        ("upstreams: [{registry: a.io}, {registry: index.docker.io}]", "spec.upstreams[1].registry", "use docker.io"),
        ("upstreams: [{registry: a.io/b}]", "spec.upstreams[0].registry", "ghcr.io"),
        ("upstreams: [{registry: a.io, url: a.io}]", "spec.upstreams[0].url", "use http:// or https://"),
        ("upstreams: [{registry: a.io, url: 'ftp://a.io'}]", "spec.upstreams[0].url", "use http:// or https://"),
        ("upstreams: [{registry: a.io, url: 'https://a.io?b'}]", "spec.upstreams[0].url", "leave"),
        ("upstreams: [{registry: a.io, repositories: [a, 'b c']}]", "spec.upstreams[0].repositories[1]", "team/**"),
        (
            "upstreams: [{registry: a.io, tags: {immutable: ['v1', 'a/b']}}]",
            "spec.upstreams[0].tags.immutable[1]",
            "v1.*.*",
        ),
        (
            "upstreams: [{registry: a.io, tags: {revalidateAfter: 7d}}]",
            "spec.upstreams[0].tags.revalidateAfter",
            "168h",
        ),
        (
            "upstreams: [{registry: a.io, tags: {revalidateAfter: 8761h}}]",
            "spec.upstreams[0].tags.revalidateAfter",
            "tags.immutable",
        ),
        (
            "upstreams: [{registry: a.io, tags: {serveStaleFor: 9000h}}]",
            "spec.upstreams[0].tags.serveStaleFor",
            "leave it out",
        ),
        ("upstreams: [{registry: a.io}]\nstorage: {ephemeral: {}}", "spec.storage.ephemeral", "remove ephemeral"),
        (
            "upstreams: [{registry: a.io}]\nstorage: {type: Ephemeral, volume: {}}",
            "spec.storage.volume",
            "remove volume",
        ),
        ("upstreams: [{registry: a.io}]\nstorage: {volume: {size: 1.5Gi}}", "spec.storage.volume.size", "50Gi"),
        (
            "upstreams: [{registry: a.io}]\nnodes: {selector: {matchExpressions: [{key: a, operator: In}]}}",
            "spec.nodes.selector.matchExpressions[0].values",
            "add or remove values",
        ),
        (
            "upstreams: [{registry: a.io, tls: {insecureSkipVerify: true, caRef: {name: ca}}}]",
            "spec.upstreams[0].tls.insecureSkipVerify",
            "remove one",
        ),
        ("upstreams: [{registry: a.io}]\negressProxy: {url: 'socks5://a:1'}", "spec.egressProxy.url", "http://"),
        ("upstreams: [{registry: a.io}]\negressProxy: {url: 'http://a:1/b'}", "spec.egressProxy.url", "leave it out"),
        ("upstreams: [{registry: a.io}]\negressProxy: {url: 'http://u@a:1'}", "spec.egressProxy.url", "leave"),
        ("upstreams: [{registry: a.io}]\ningress: {host: 10.0.0.1}", "spec.ingress.host", "mirror.example.com"),
        ("upstreams: [{registry: a.io}]\ningress: {host: a..b}", "spec.ingress.host", "mirror.example.com"),
        (
            "upstreams: [{registry: a.io}, {registry: a-io}]\ningress: {host: b.io, routing: HostPerUpstream}",
            "spec.upstreams[1].registry",
            "set ingress.routing to Path",
        ),
        (
            "upstreams: [{registry: '[fd00::1]'}]\ningress: {host: b.io, routing: HostPerUpstream}",
            "spec.upstreams[0].registry",
            "set ingress.routing to Path",
        ),
        (
            "upstreams: [{registry: a.io}]\ningress: {host: b.io, annotations: {'a b': c}}",
            "spec.ingress.annotations",
            "nginx.ingress",
        ),
        (
            "upstreams: [{registry: a.io}]\nproxy: {podAnnotations: {'a b': c}}",
            "spec.proxy.podAnnotations",
            "prometheus.io/scrape",
        ),
    ] {
        let fault = one_fault(spec, &config_map("ca", "ca.crt", PEM));
        assert_eq!((fault.reason, fault.field.as_str()), (Reason::InvalidSpec, field), "{spec}");
        assert!(fault.message.contains(remedy), "{spec}: {fault}");
    }
}

#[test]
fn annotations_that_fit_no_object_are_refused() {
    let long = "x".repeat(256 << 10);
    let spec = format!("{MINIMAL}\nproxy: {{podAnnotations: {{'a.io/b': {long}}}}}");
    let fault = one_fault(&spec, &Referenced::default());
    assert_eq!(fault.field, "spec.proxy.podAnnotations");
    assert!(fault.message.ends_with("make them shorter") && fault.message.len() < 200, "{fault}");
}

#[test]
fn all_faults_are_told_at_once() {
    let all = faults(
        "upstreams: [{registry: A}, {registry: b.io, url: x}]\nstorage: {ephemeral: {}}",
        &Referenced::default(),
    );
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let fault = one_fault("upstreams: [{registry: a.io, url: 'https://u:secret@a.io'}]", &Referenced::default());
    assert!(!fault.to_string().contains("secret"), "{fault}");
}

#[test]
fn a_name_that_makes_no_service_is_refused() {
    for name in ["a".repeat(41), "a.b".to_owned(), "1a".to_owned(), "a-".to_owned(), String::new()] {
        let mut mirror = mirror(MINIMAL);
        mirror.metadata.name = Some(name.clone());
        let faults = validate(&mirror, &Referenced::default()).unwrap_err();
        assert_eq!(faults[0].field, "metadata.name", "{name}");
    }
}

#[test]
fn references_must_be_there_and_hold_certificates() {
    let spec = "upstreams: [{registry: a.io, tls: {caRef: {name: ca}}}]";
    let field = |key: &str| format!("spec.upstreams[0].tls.caRef{key}");
    let fault = one_fault(spec, &Referenced::default());
    assert_eq!((fault.reason, fault.field), (Reason::ReferenceNotFound, field(".name")));
    let fault = one_fault(spec, &config_map("ca", "other", PEM));
    assert_eq!((fault.reason, fault.field), (Reason::ReferenceNotFound, field(".key")));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----";
    let second = format!("{PEM}{garbage}");
    for text in ["", "hello", empty, "-----BEGIN CERTIFICATE-----\nMIIB", garbage, &second] {
        let fault = one_fault(spec, &config_map("ca", "ca.crt", text));
        assert_eq!((fault.reason, fault.field), (Reason::ReferenceInvalid, field(".key")), "{text}");
    }
    for text in [PEM.to_owned(), PEM.repeat(2)] {
        let valid = validate(&mirror(spec), &config_map("ca", "ca.crt", &text)).unwrap();
        assert!(valid.upstreams[0].authorities.is_some());
    }
}

#[test]
fn an_object_of_ours_is_no_reference() {
    let mut referenced = config_map("ca", "ca.crt", PEM);
    referenced.sources.values_mut().for_each(|source| source.ours = true);
    let fault = one_fault("upstreams: [{registry: a.io, tls: {caRef: {name: ca}}}]", &referenced);
    assert_eq!(fault.reason, Reason::ReferenceInvalid);
}

#[test]
fn a_claim_grows_where_its_class_lets_it_and_never_shrinks() {
    let sized = |spec: &str, requested: u64, expandable: bool, bound: bool| {
        let class = ClassFact { name: "fast".to_owned(), default: true, expandable };
        let claim = ClaimFact {
            requested: requested << 30,
            capacity: bound.then_some(requested << 30),
            class: Some("fast".to_owned()),
            owned: false,
        };
        let referenced =
            Referenced { storage_classes: vec![class], claims: [(0, claim)].into(), ..Referenced::default() };
        let spec = format!("{MINIMAL}\nstorage: {{volume: {{size: {spec}}}}}");
        match validate(&mirror(&spec), &referenced).unwrap().storage {
            ValidStorage::Volume { claims, .. } => claims[&0].0 >> 30,
            ValidStorage::Ephemeral { .. } => 0,
        }
    };
    let size = |spec: &str, requested: u64, expandable: bool| sized(spec, requested, expandable, true);
    assert_eq!(sized("60Gi", 50, true, false), 50, "not before it has a volume");
    assert_eq!(size("60Gi", 50, true), 60);
    assert_eq!(size("60Gi", 50, false), 50);
    assert_eq!(size("40Gi", 50, true), 50);
}

#[test]
fn a_claim_that_was_kept_must_be_of_the_class_that_is_named() {
    let claim = |class: Option<&str>| {
        let claim = ClaimFact { requested: 50 << 30, class: class.map(str::to_owned), ..ClaimFact::default() };
        Referenced { claims: [(0, claim)].into(), ..Referenced::default() }
    };
    let named = format!("{MINIMAL}\nstorage: {{volume: {{storageClassName: fast}}}}");
    let fault = one_fault(&named, &claim(Some("local")));
    let field = "spec.storage.volume.storageClassName";
    assert_eq!((fault.reason, fault.field.as_str()), (Reason::InvalidSpec, field));
    assert!(fault.message.contains("mirror-reef-0") && fault.message.contains("local"), "{fault}");
    for (spec, class) in [(named.as_str(), Some("fast")), (&named, None), (MINIMAL, Some("local"))] {
        assert!(validate(&mirror(spec), &claim(class)).is_ok(), "{class:?}");
    }
}

#[test]
fn there_are_as_many_members_as_the_spec_says_within_bounds() {
    let replicas = |count: &str| format!("{MINIMAL}\nproxy: {{replicas: {count}}}");
    assert_eq!(valid(MINIMAL).replicas, 1);
    assert_eq!(valid(&replicas("16")).replicas, 16);
    for count in ["0", "-1", "17", "2147483647"] {
        let fault = one_fault(&replicas(count), &Referenced::default());
        assert_eq!((fault.reason, fault.field.as_str()), (Reason::InvalidSpec, "spec.proxy.replicas"));
    }
}

#[test]
fn every_members_claim_is_judged_by_itself_and_one_of_another_class_is_named() {
    let claim = |requested: u64, class: &str, owned| {
        let (requested, class) = (requested << 30, Some(class.to_owned()));
        ClaimFact { requested, capacity: Some(requested), class, owned }
    };
    let class = |name: &str, expandable| ClassFact { name: name.to_owned(), default: false, expandable };
    let found = |claims: &[(i32, ClaimFact)]| Referenced {
        storage_classes: vec![class("fast", true), class("slow", false)],
        claims: claims.iter().cloned().collect(),
        ..Referenced::default()
    };
    let spec = |retention: &str| {
        format!("{MINIMAL}\nproxy: {{replicas: 3}}\nstorage: {{volume: {{size: 60Gi, retention: {retention}}}}}")
    };
    let asked = |retention: &str, found: &Referenced| match validate(&mirror(&spec(retention)), found).unwrap().storage
    {
        ValidStorage::Volume { claims, room, .. } => {
            (claims.into_iter().map(|(number, size)| (number, size.0 >> 30)).collect::<Vec<_>>(), room.0 >> 30)
        }
        ValidStorage::Ephemeral { .. } => (vec![], 0),
    };
    let kept = found(&[(0, claim(60, "fast", false)), (1, claim(40, "fast", false)), (2, claim(40, "slow", false))]);
    assert_eq!(asked("Retain", &kept), (vec![(0, 60), (1, 60), (2, 40)], 60), "the large one keeps what it has");
    let growing = found(&[(0, claim(40, "fast", false)), (1, claim(40, "fast", false)), (2, claim(40, "fast", false))]);
    assert_eq!(asked("Retain", &growing).1, 40, "not before there is room");
    // What a former member left goes with the mirror, unless it shall stay now.
    let left = found(&[(3, claim(40, "fast", true)), (4, claim(40, "fast", false))]);
    assert_eq!(asked("Retain", &left).0, [(0, 60), (1, 60), (2, 60), (3, 40)]);
    assert_eq!(asked("Delete", &left).0, [(0, 60), (1, 60), (2, 60)]);

    let named = format!("{MINIMAL}\nproxy: {{replicas: 3}}\nstorage: {{volume: {{storageClassName: fast}}}}");
    let fault = one_fault(&named, &kept);
    assert!(fault.message.contains("mirror-reef-2") && fault.message.contains("slow"), "{fault}");
}
