//! Tests of what is an identity.

use super::*;
use crate::testing::{Authority, entries};

#[test]
fn every_entry_is_checked_and_the_error_names_it() {
    let authority = Authority::new();
    let good = entries(&[&authority], &["u", "v"]);
    let identity = Identity::new(good.clone()).unwrap();
    assert!(identity.mirrors().map(|(uid, _)| uid).eq(["u", "v"]));
    let other_key = entries(&[&authority], &["u"]).remove(PRIVATE_KEY_KEY).unwrap();
    for (key, text, says) in [
        (AUTHORITIES_KEY, None, "no key ca.crt"),
        (AUTHORITIES_KEY, Some(""), "ca.crt has no certificate"),
        (
            AUTHORITIES_KEY,
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "ca.crt cannot be used",
        ),
        (PRIVATE_KEY_KEY, None, "no key tls.key"),
        (PRIVATE_KEY_KEY, Some("x"), "tls.key is no PEM"),
        (PRIVATE_KEY_KEY, Some(other_key.as_str()), "u.crt cannot be used"),
        ("v.crt", Some("x"), "v.crt has no certificate"),
        ("not a name.crt", good.get("u.crt").map(String::as_str), ""),
    ] {
        let mut entries = good.clone();
        match text {
            Some(text) => drop(entries.insert(key.to_owned(), text.to_owned())),
            None => drop(entries.remove(key)),
        }
        match Identity::new(entries) {
            Ok(_) => assert_eq!(says, "", "{key}"),
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{key}: {error}"),
        }
    }
}

#[test]
fn one_mirrors_renewal_changes_nothing_for_another() {
    let authority = Authority::new();
    let before = entries(&[&authority], &["u", "v"]);
    let mut renewed = before.clone();
    renewed.insert("u.crt".to_owned(), authority.agent("u", &before[PRIVATE_KEY_KEY]));
    let (before, renewed) = (Identity::new(before).unwrap(), Identity::new(renewed).unwrap());
    assert!(before != renewed && before.is_same_for(&renewed, "v") && !before.is_same_for(&renewed, "u"));
}

#[test]
fn what_is_printed_of_an_identity_tells_its_mirrors_and_nothing_more() {
    let identity = Identity::new(entries(&[&Authority::new()], &["u"])).unwrap();
    assert_eq!(format!("{identity:?}"), "Identity { mirrors: [\"u\"], .. }");
}
