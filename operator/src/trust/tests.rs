//! Authorities and certificates made, read back, kept and replaced.

use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use tidepool_config::trust::{AUTHORITIES_KEY, PRIVATE_KEY_KEY, agent_name, certificate_key, member_name};

use super::{
    agents::Agents,
    authorities::{Authorities, Data},
    certificate::Certificate,
    issue::{Pair, key},
    members::{member, renewal},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
const LEAF: Duration = Duration::from_secs(30 * 24 * 3600);
const UID: &str = "0c2f1b6e-6b0a-4a70-9d9a-3a5a7c1f8e11";

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The authorities as they are at a moment, from what they were.
fn at(past: &Authorities, now: SystemTime) -> Authorities {
    let mut authorities = past.clone();
    authorities.advance(&|_| true, now, LIFE).unwrap();
    authorities
}

fn fresh() -> Authorities {
    at(&Authorities::default(), start())
}

fn member_at(authorities: &Authorities, past: Option<Pair>, now: SystemTime) -> Pair {
    member(authorities, UID, past, now, LEAF).unwrap()
}

fn uids(uids: &[&str]) -> Vec<String> {
    uids.iter().map(|uid| (*uid).to_owned()).collect()
}

fn agents_at(authorities: &Authorities, wanted: &[&str], past: &Data, now: SystemTime) -> Data {
    Agents::new(authorities, &uids(wanted), past, now, LEAF).unwrap().data(authorities)
}

#[test]
fn what_is_written_is_read_back_and_nothing_is_due_again() {
    let authorities = fresh();
    let mut read = Authorities::read(&authorities.data());
    let (changed, due) = read.advance(&|_| true, start(), LIFE).unwrap();
    assert!(!changed);
    assert!(due > start() + LIFE / 2 && due < start() + LIFE);
    assert_eq!(read.data(), authorities.data());
    // In the midst of a rotation, and after it.
    for days in [250, 251, 252] {
        let later = at(&authorities, start() + DAY * days);
        assert_eq!(Authorities::read(&later.data()).data(), later.data());
    }
}

#[test]
fn garbage_is_replaced_and_what_a_lost_key_signed_is_still_believed() {
    let authorities = fresh();
    let leaf = member_at(&authorities, None, start()).certificate;
    let with = |changes: &[(&str, &str)]| {
        let mut data = authorities.data();
        data.extend(changes.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))));
        at(&Authorities::read(&data), start())
    };
    let other_key = key().unwrap().serialize_pem();
    for garbage in [with(&[("tls.key", "nonsense")]), with(&[("tls.key", &other_key)])] {
        assert_ne!(garbage.signer().unwrap().certificate, authorities.signer().unwrap().certificate);
        assert!(garbage.vouch_for(&leaf));
    }
    let all = with(&[("tls.crt", "\u{0}"), ("next.crt", "-----BEGIN CERTIFICATE-----"), ("previous.crt", "x")]);
    assert!(all.signer().is_some() && !all.vouch_for(&leaf));
    // A certificate that may not sign is no authority.
    let no_authority = with(&[("tls.crt", &leaf.pem), ("tls.key", &other_key)]);
    assert!(no_authority.signer().unwrap().certificate.is_authority);
}

#[test]
fn a_members_certificate_is_kept_until_two_thirds_of_its_life() {
    let authorities = fresh();
    let pair = member_at(&authorities, None, start());
    assert!(pair.certificate.names_only(&member_name(UID)));
    assert!(pair.certificate.validity.begins < start());
    let later = |days: u32| member_at(&authorities, Some(pair.clone()), start() + DAY * days);
    assert_eq!(later(19).certificate, pair.certificate);
    assert_ne!(later(20).certificate, pair.certificate);
    assert_ne!(later(20).key, pair.key);
}

#[test]
fn a_members_certificate_of_another_mirror_or_authority_is_replaced() {
    let authorities = fresh();
    let pair = member_at(&authorities, None, start());
    let other = member(&authorities, "another-uid", Some(pair.clone()), start(), LEAF).unwrap();
    assert!(other.certificate.names_only(&member_name("another-uid")));
    let stranger = member_at(&fresh(), Some(pair.clone()), start());
    assert_ne!(stranger.certificate, pair.certificate);
}

#[test]
fn no_certificate_outlives_its_authority_and_a_rotation_replaces_none() {
    let authorities = fresh();
    let near_end = start() + DAY * 243;
    let pair = member_at(&authorities, None, near_end);
    let preparing = at(&authorities, near_end + DAY);
    assert_eq!(preparing.signer().unwrap().certificate, authorities.signer().unwrap().certificate);
    assert_ne!(preparing.bundle(), authorities.bundle());
    let promoted = at(&preparing, near_end + DAY * 2);
    assert_eq!(promoted.bundle(), preparing.bundle());
    assert_ne!(promoted.signer().unwrap().certificate, authorities.signer().unwrap().certificate);
    assert_eq!(member_at(&promoted, Some(pair.clone()), near_end + DAY * 2).certificate, pair.certificate);
    let last = member_at(&authorities, None, start() + DAY * 360).certificate;
    assert_eq!(last.validity.ends, authorities.signer().unwrap().certificate.validity.ends);
}

#[test]
fn agents_have_one_key_and_a_certificate_for_each_mirror() {
    let authorities = fresh();
    let data = agents_at(&authorities, &["a", "b"], &Data::new(), start());
    let keys: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["a.crt", "b.crt", AUTHORITIES_KEY, PRIVATE_KEY_KEY]);
    let pair = Pair::read(&data["a.crt"].0, &data[PRIVATE_KEY_KEY].0).unwrap();
    assert!(pair.certificate.names_only(&agent_name("a")) && authorities.vouch_for(&pair.certificate));
    // Nothing is due: nothing changes. A mirror more: one certificate more. One less: one less.
    assert_eq!(agents_at(&authorities, &["a", "b"], &data, start() + DAY * 19), data);
    let more = agents_at(&authorities, &["a", "b", "c"], &data, start());
    assert!(data.iter().all(|(key, value)| more[key] == *value) && more.contains_key(&certificate_key("c")));
    let mut less = data.clone();
    less.remove("b.crt");
    assert_eq!(agents_at(&authorities, &["a"], &data, start()), less);
}

#[test]
fn agents_get_a_new_key_with_the_first_renewal_and_for_garbage() {
    let authorities = fresh();
    let data = agents_at(&authorities, &["a", "b"], &Data::new(), start());
    let renewed = agents_at(&authorities, &["a", "b"], &data, start() + DAY * 20);
    assert!(renewed.iter().all(|(key, value)| key == AUTHORITIES_KEY || data[key] != *value));
    for key in ["a.crt", PRIVATE_KEY_KEY] {
        let mut garbage = data.clone();
        garbage.insert(key.to_owned(), ByteString(b"garbage".to_vec()));
        let mended = agents_at(&authorities, &["a", "b"], &garbage, start());
        assert!(Pair::read(&mended["a.crt"].0, &mended[PRIVATE_KEY_KEY].0).is_some());
        assert!(Pair::read(&mended["b.crt"].0, &mended[PRIVATE_KEY_KEY].0).is_some());
    }
    // A member's certificate is none of an agent.
    let mut swapped = data;
    let member = member_at(&authorities, None, start());
    swapped.insert("a.crt".to_owned(), ByteString(member.certificate.pem.into_bytes()));
    let mended = agents_at(&authorities, &["a"], &swapped, start());
    assert!(Certificate::read(&mended["a.crt"].0).unwrap().names_only(&agent_name("a")));
}

#[test]
fn near_the_end_of_its_authority_nothing_is_issued_over_and_over() {
    let authorities = fresh();
    let ends = authorities.signer().unwrap().certificate.validity.ends;
    // For as long as the next one cannot sign: from two days before the end.
    let (mut member, mut agents) = (None, Data::new());
    let (mut members, mut keys) = (0, 0);
    for left in (1..=48 * 3600).rev().filter(|left| left % 3600 == 0 || *left < 200 && left % 10 < 2) {
        let now = ends - Duration::from_secs(left);
        let pair = member_at(&authorities, member.clone(), now);
        members += u32::from(member.is_none_or(|past| past.certificate != pair.certificate));
        let made = agents_at(&authorities, &["a", "b"], &agents, now);
        keys += u32::from(agents.get(PRIVATE_KEY_KEY) != made.get(PRIVATE_KEY_KEY));
        assert!(renewal(&pair.certificate, &authorities, LEAF) > now, "{left} s left");
        (member, agents) = (Some(pair), made);
    }
    assert_eq!((members, keys), (1, 1));
    // Also when it is made in the last moment; and it is replaced as soon as another signs.
    for left in [1, 20, 150, 600] {
        let now = ends - Duration::from_secs(left);
        let pair = member_at(&authorities, None, now);
        assert!(pair.certificate.validity.begins < now && pair.certificate.validity.ends == ends);
        assert_eq!(member_at(&authorities, Some(pair.clone()), now).certificate, pair.certificate);
    }
    let late = ends - Duration::from_secs(60);
    let rotated = at(&at(&authorities, late - DAY), late);
    assert_ne!(member_at(&rotated, member.clone(), late).certificate, member.unwrap().certificate);
}

#[test]
fn a_clock_that_is_behind_issues_nothing_anew() {
    let authorities = fresh();
    let pair = member_at(&authorities, None, start());
    let behind = start() - Duration::from_secs(1200);
    assert_eq!(member_at(&authorities, Some(pair.clone()), behind).certificate, pair.certificate);
    let agents = agents_at(&authorities, &["a"], &Data::new(), start());
    assert_eq!(agents_at(&authorities, &["a"], &agents, behind), agents);
    // One that nobody believes for days yet was made by a clock that was wrong.
    assert_ne!(member_at(&authorities, Some(pair.clone()), start() - DAY).certificate, pair.certificate);
}
