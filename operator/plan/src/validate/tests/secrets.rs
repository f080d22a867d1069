//! Secrets that a spec names: each fault with its field, its key and its remedy, and never with content.

use super::*;

const HUB: &str = "upstreams: [{registry: docker.io, credentials: {secretRef: {name: hub}}}]";
const USERS: &str = "upstreams: [{registry: a.io}]\naccess: {usersSecretRef: {name: users}}";
const EGRESS: &str = "upstreams: [{registry: a.io}]\negressProxy: {url: 'http://p:1', credentialsSecretRef: {name: p}}";
const CLIENT: &str = "upstreams: [{registry: a.io, tls: {clientCertSecretRef: {name: me}}}]";

#[test]
fn a_secret_that_is_not_there_is_named() {
    for (spec, field) in [
        (HUB, "spec.upstreams[0].credentials.secretRef.name"),
        (USERS, "spec.access.usersSecretRef.name"),
        (EGRESS, "spec.egressProxy.credentialsSecretRef.name"),
        (CLIENT, "spec.upstreams[0].tls.clientCertSecretRef.name"),
        ("upstreams: [{registry: a.io, tls: {caRef: {kind: Secret, name: ca}}}]", "spec.upstreams[0].tls.caRef.name"),
    ] {
        let fault = one_fault(spec, &Referenced::default());
        assert_eq!((fault.reason, fault.field.as_str()), (Reason::SecretNotFound, field));
        assert!(fault.message.ends_with("create it there"), "{fault}");
    }
}

#[test]
fn a_secret_of_ours_is_no_reference() {
    let ours = |name: &str| {
        let mut referenced = with([secret(name, &[("username", "u"), ("password", "p"), ("tls.crt", PEM)])]);
        referenced.sources.values_mut().for_each(|source| source.ours = true);
        referenced
    };
    let shown = "upstreams: [{registry: a.io}]\ningress: {host: a.io, tlsSecretName: mine}";
    for (spec, name) in [(HUB, "hub"), (USERS, "users"), (EGRESS, "p"), (CLIENT, "me"), (shown, "mine")] {
        let fault = one_fault(spec, &ours(name));
        assert_eq!(fault.reason, Reason::SecretInvalid, "{spec}");
        assert!(fault.message.contains("belongs to the operator"), "{fault}");
    }
    // By their names, whether they are there and whatever labels they have.
    for name in ["tidepool-authority", "tidepool-agent-identity"] {
        for (spec, placeholder) in [(CLIENT, "me"), (HUB, "hub"), (shown, "mine")] {
            let spec = spec.replace(&format!("ame: {placeholder}}}"), &format!("ame: {name}}}"));
            for referenced in [with([secret(name, &[("tls.crt", PEM)])]), Referenced::default()] {
                let fault = one_fault(&spec, &referenced);
                assert_eq!(fault.reason, Reason::SecretInvalid, "{spec}");
                assert!(fault.message.contains("belongs to the operator"), "{fault}");
            }
        }
    }
    // It may come later: cert-manager makes it for the Ingress.
    assert!(validate(&mirror(shown), &Referenced::default()).is_ok());
}

#[test]
fn a_login_that_cannot_be_one_is_told_with_the_key_and_without_its_content() {
    const LEAK: &str = "hunter2";
    for (data, word) in [
        (vec![], "username"),
        (vec![("username", LEAK)], "password"),
        (vec![("password", LEAK)], "username"),
        (vec![("username", ""), ("password", LEAK)], "empty username"),
        (vec![("username", "u"), ("password", "\n")], "empty password"),
        (vec![("username", "u"), ("password", "hunter2\nhunter2")], "several lines"),
        (vec![("username", "hunter2:"), ("password", LEAK)], "':'"),
        (vec![(".dockerconfigjson", "hunter2")], "no Docker configuration"),
        (vec![(".dockerconfigjson", r#"{"auths":{"ghcr.io":{"auth":"hunter2"}}}"#)], "no entry"),
        (vec![(".dockerconfigjson", r#"{"auths":{"docker.io":{"auth":"hunter2"}}}"#)], "base64"),
    ] {
        let fault = one_fault(HUB, &with([secret("hub", &data)]));
        assert_eq!(fault.reason, Reason::SecretInvalid, "{data:?}");
        let text = fault.to_string();
        assert!(text.contains("Secret hub") && text.contains(word) && !text.contains(LEAK), "{data:?}: {text}");
    }
    // An egress proxy is no registry: it has no entry in a Docker configuration.
    let fault = one_fault(EGRESS, &with([secret("p", &[(".dockerconfigjson", "{}")])]));
    assert!(fault.message.contains("no key username"), "{fault}");
}

#[test]
fn users_must_be_a_list_with_bcrypt_hashes() {
    let hash = format!("alice:$2y$05${}", "a".repeat(53));
    for key in ["htpasswd", "auth"] {
        let valid = validate(&mirror(USERS), &with([secret("users", &[(key, &hash)])])).unwrap();
        assert_eq!(valid.access.users.unwrap().0, hash.as_bytes());
    }
    for (key, text, word) in
        [("users", hash.as_str(), "htpasswd"), ("htpasswd", "alice:$apr1$x", "line 1"), ("auth", "", "names no user")]
    {
        let fault = one_fault(USERS, &with([secret("users", &[(key, text)])]));
        assert_eq!((fault.reason, fault.field.as_str()), (Reason::SecretInvalid, "spec.access.usersSecretRef.name"));
        assert!(fault.message.contains(word) && !fault.message.contains("$apr1"), "{fault}");
    }
}

#[test]
fn a_client_certificate_must_come_with_its_key() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (me, other) = (made("me"), made("other"));
    let (certificate, key, stranger) =
        (me.cert.pem(), me.signing_key.serialize_pem(), other.signing_key.serialize_pem());
    let referenced = |data: &[(&str, &str)]| with([secret("me", data)]);
    let good = referenced(&[("tls.crt", &certificate), ("tls.key", &key)]);
    assert!(validate(&mirror(CLIENT), &good).unwrap().upstreams[0].client.is_some());
    for (data, word) in [
        (vec![("tls.crt", certificate.as_str())], "no key tls.key"),
        (vec![("tls.key", key.as_str())], "no key tls.crt"),
        (vec![("tls.crt", "x"), ("tls.key", &key)], "in tls.crt"),
        (vec![("tls.crt", &certificate), ("tls.key", "x")], "in tls.key"),
        (vec![("tls.crt", &certificate), ("tls.key", &stranger)], "not the key of its tls.crt"),
    ] {
        let fault = one_fault(CLIENT, &referenced(&data));
        assert_eq!(fault.reason, Reason::SecretInvalid);
        assert!(fault.message.contains(word), "{fault}");
    }
}

#[test]
fn a_configuration_that_fits_in_no_secret_is_refused() {
    let bundle = PEM.repeat((1 << 20) / PEM.len());
    let fault =
        one_fault("upstreams: [{registry: a.io, tls: {caRef: {name: ca}}}]", &config_map("ca", "ca.crt", &bundle));
    assert_eq!((fault.reason, fault.field.as_str()), (Reason::InvalidSpec, "spec.upstreams"));
    assert!(fault.message.contains("smaller bundles"), "{fault}");
}

#[test]
fn no_debug_text_holds_a_secret() {
    let referenced = with([secret("hub", &[("username", "u"), ("password", "hunter2")])]);
    let valid = validate(&mirror(HUB), &referenced).unwrap();
    assert!(!format!("{valid:?} {referenced:?}").contains("hunter2"));
}
