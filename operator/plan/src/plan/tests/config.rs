//! The members' configuration: what is in it, and what a change of it does.

use k8s_openapi::ByteString;
use tidepool_config::{AnonymousPull, Scope};

use super::*;
use crate::testing::{PEM, config_map, secret, with};

#[test]
fn all_that_a_spec_names_is_in_one_secret_where_the_configuration_looks() {
    let spec = "
upstreams:
- {registry: docker.io, credentials: {secretRef: {name: hub}}}
- {registry: 'reg.io:5000', credentials: {secretRef: {name: reg}, scope: AllImages}, tls: {caRef: {name: ca}}}
egressProxy: {url: 'http://proxy:3128', noProxy: [.corp], credentialsSecretRef: {name: egress}}
access: {anonymousPull: None, usersSecretRef: {name: users}}";
    let docker = r#"{"auths":{"reg.io:5000":{"username":"r","password":"reg-password"}}}"#;
    let users = format!("alice:$2y$05${}\n", "a".repeat(53));
    let objects = planned_with(
        spec,
        &with([
            secret("hub", &[("username", "h\n"), ("password", "hub-password\n")]),
            secret("reg", &[(".dockerconfigjson", docker)]),
            secret("egress", &[("username", "e"), ("password", "egress-password")]),
            secret("users", &[("auth", &users)]),
            config_map("ca", &[("ca.crt", PEM)]),
        ]),
    );
    let file = file(&objects);
    let [hub, reg] = &file.upstreams[..] else { panic!("{:?}", file.upstreams) };
    let (hub, tls) = (hub.credentials.clone().unwrap(), reg.tls.clone().unwrap());
    assert_eq!((hub.username.as_deref(), hub.scope), (Some("h"), Scope::PublicImages));
    assert_eq!(named(&objects, hub.password_file.as_ref()), "hub-password");
    let reg = reg.credentials.clone().unwrap();
    assert_eq!((reg.username.as_deref(), reg.scope), (Some("r"), Scope::AllImages));
    assert_eq!(named(&objects, reg.password_file.as_ref()), "reg-password");
    assert_eq!(named(&objects, tls.ca_file.as_ref()), PEM);
    let egress = file.egress_proxy.unwrap();
    assert_eq!((egress.username.as_deref(), egress.no_proxy), (Some("e"), vec![".corp".to_owned()]));
    assert_eq!(named(&objects, egress.password_file.as_ref()), "egress-password");
    let access = file.access.unwrap();
    assert_eq!(access.anonymous_pull, AnonymousPull::None);
    assert_eq!(named(&objects, access.users_file.as_ref()), users);
    let agents = file.agents.unwrap();
    assert_eq!((agents.listen.port(), agents.mirror.as_str()), (5443, "uid-of-reef"));
    assert_eq!(named(&objects, Some(&agents.cert_file)), "CERT");
    assert_eq!(named(&objects, Some(&agents.key_file)), "KEY");
    assert_eq!(named(&objects, Some(&agents.ca_file)), "CA");
    let keys: Vec<_> = objects.config.data.as_ref().unwrap().keys().map(String::as_str).collect();
    let wanted = "agents-ca.crt egress-password proxy.yaml tls.crt tls.key upstream-0-password upstream-1-ca.crt upstream-1-password users";
    assert_eq!(keys.join(" "), wanted);
    let pod = serde_json::to_string(&objects.deployments).unwrap();
    assert!(!pod.contains("password") && !entry(&objects, "proxy.yaml").contains("hub-password"), "{pod}");
}

#[test]
fn a_client_certificate_reaches_the_member_as_it_is() {
    let made = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let spec = "upstreams: [{registry: a.io, tls: {clientCertSecretRef: {name: me}, insecureSkipVerify: true}}]";
    let objects = planned_with(spec, &with([secret("me", &[("tls.crt", &certificate), ("tls.key", &key)])]));
    let tls = file(&objects).upstreams[0].tls.clone().unwrap();
    assert!(tls.insecure_skip_verify);
    assert_eq!(named(&objects, tls.cert_file.as_ref()), certificate);
    assert_eq!(named(&objects, tls.key_file.as_ref()), key);
}

#[test]
fn whatever_a_member_reads_changes_the_revision_and_never_the_pod() {
    let spec = "upstreams: [{registry: a.io, credentials: {secretRef: {name: s}}, tls: {caRef: {name: ca}}}]";
    let made = |spec: &str, password: &str, ca: &str| {
        let login = secret("s", &[("username", "u"), ("password", password)]);
        planned_with(spec, &with([login, config_map("ca", &[("ca.crt", ca)])]))
    };
    let base = made(spec, "one", PEM);
    assert_eq!(revision(&base), revision(&made(spec, "one", PEM)));
    assert_eq!(
        revision(&base),
        revision(&made(&format!("{spec}\nnodes: {{mode: Withdraw, priority: 7}}"), "one", PEM))
    );
    let all = spec.replace("secretRef: {name: s}", "secretRef: {name: s}, scope: AllImages");
    let others = [
        made(spec, "two", PEM),
        made(spec, "one", &PEM.repeat(2)),
        made(&all, "one", PEM),
        made(&format!("{spec}\naccess: {{anonymousPull: All}}"), "one", PEM),
        made(&format!("{spec}\nstorage: {{volume: {{size: 60Gi}}}}"), "one", PEM),
        {
            let valid = validate(
                &mirror(spec),
                &with([secret("s", &[("username", "u"), ("password", "one")]), config_map("ca", &[("ca.crt", PEM)])]),
            );
            let identity = Identity { key: "ANOTHER".into(), ..identity() };
            plan(&valid.unwrap(), &identity, &defaults()).unwrap()
        },
    ];
    for other in &others {
        assert_ne!(revision(other), revision(&base));
        assert_eq!(other.deployments, base.deployments, "a pod restarts only when its template changes");
    }
}

#[test]
fn members_are_told_what_to_log_without_a_restart_and_only_where_it_is_not_the_usual() {
    let told = |level: Option<&str>| {
        let defaults = Defaults { log_level: level.map(str::to_owned), ..defaults() };
        plan(&valid(MINIMAL), &identity(), &defaults).unwrap()
    };
    let (usual, debug) = (told(None), told(Some("info,tidepool_proxy=debug")));
    // As members of versions that do not know the key must find it.
    assert!(!entry(&usual, "proxy.yaml").contains("logLevel"));
    assert_eq!(file(&debug).log_level.as_deref(), Some("info,tidepool_proxy=debug"));
    assert_ne!(revision(&usual), revision(&debug), "the operator waits until it is in use");
    assert_eq!(usual.deployments, debug.deployments, "a pod restarts only when its template changes");
}

#[test]
fn the_limit_follows_the_claim_and_waits_for_the_volume() {
    let limit = |size: &str, claim: Option<(u64, u64)>| {
        let claim = claim.map(|(requested, capacity)| crate::ClaimFact {
            requested: requested << 30,
            capacity: Some(capacity << 30),
            class: Some("fast".to_owned()),
            owned: false,
        });
        let class = crate::ClassFact { name: "fast".to_owned(), default: true, expandable: true };
        let referenced = Referenced {
            claims: claim.into_iter().map(|claim| (0, claim)).collect(),
            storage_classes: vec![class],
            ..Referenced::default()
        };
        let objects = planned_with(&format!("{MINIMAL}\nstorage: {{volume: {{size: {size}}}}}"), &referenced);
        let requests = objects.claims[0].spec.clone().unwrap().resources.unwrap().requests.unwrap();
        (requests["storage"].0.clone(), file(&objects).storage.unwrap().limit.unwrap().0)
    };
    let nine_tenths = |gi: u64| (gi << 30) / 10 * 9;
    assert_eq!(limit("60Gi", None), ("60Gi".to_owned(), nine_tenths(60)));
    assert_eq!(limit("60Gi", Some((50, 50))), ("60Gi".to_owned(), nine_tenths(50)));
    assert_eq!(limit("60Gi", Some((60, 60))), ("60Gi".to_owned(), nine_tenths(60)));
    assert_eq!(limit("60Gi", Some((60, 64))), ("60Gi".to_owned(), nine_tenths(60)));
}

#[test]
fn certificates_are_renewed_without_the_spec_and_nothing_else_changes() {
    let before = planned(MINIMAL).config;
    assert!(renewed(&before, &identity()).is_none(), "nothing to do");
    let mut bare = before.clone();
    bare.data = None;
    assert!(renewed(&bare, &identity()).is_none(), "nothing to renew");
    let another = Identity { certificate: "NEW".into(), ..identity() };
    let after = renewed(&before, &another).unwrap();
    assert_eq!(after, plan(&valid(MINIMAL), &another, &defaults()).unwrap().config, "as if it had been planned");
}

#[test]
fn a_configuration_of_a_version_that_knows_no_certificates_or_revision_gets_none() {
    // As 0.1.0 writes it, whose members refuse fields they do not know.
    let text = "listen: 0.0.0.0:5000\nupstreams:\n- registry: a.io\n";
    let mut before = planned(MINIMAL).config;
    before.data = Some([("proxy.yaml".to_owned(), ByteString(text.into()))].into());
    assert_eq!(renewed(&before, &identity()), None);
    before.data.as_mut().unwrap().insert("tls.crt".to_owned(), ByteString("OLD".into()));
    let after = renewed(&before, &identity()).unwrap().data.unwrap();
    assert_eq!((&*after["proxy.yaml"].0, &*after["tls.crt"].0), (text.as_bytes(), "CERT".as_bytes()));
}
