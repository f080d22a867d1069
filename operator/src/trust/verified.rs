//! What is issued, as the TLS of members and agents judges it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tidepool_config::trust::{PRIVATE_KEY_KEY, agent_name, certificate_key, member_name};

use super::{
    agents::Agents,
    authorities::{Authorities, Data},
    issue::Pair,
    members::member,
};

const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
const LEAF: Duration = Duration::from_secs(30 * 24 * 3600);
const UID: &str = "0c2f1b6e-6b0a-4a70-9d9a-3a5a7c1f8e11";

/// Authorities, and what they issued for one mirror.
struct Issued {
    authorities: Authorities,
    member: Pair,
    agent: Pair,
}

fn issued(mut authorities: Authorities, now: SystemTime) -> Issued {
    authorities.advance(&|_| true, now, LIFE).unwrap();
    let member = member(&authorities, UID, None, now, LEAF).unwrap();
    let agents = Agents::new(&authorities, &[UID.to_owned()], &Data::new(), now, LEAF).unwrap().data(&authorities);
    let agent = Pair::read(&agents[&certificate_key(UID)].0, &agents[PRIVATE_KEY_KEY].0).unwrap();
    Issued { authorities, member, agent }
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.pem.as_bytes()).unwrap()
}

fn roots(authorities: &Authorities) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authorities.bundle().as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    Arc::new(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn unix(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap())
}

/// Whether an agent that believes these takes it for a member of the mirror with `uid`.
fn is_member(believed: &Authorities, shown: &Pair, uid: &str, now: SystemTime) -> bool {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(believed), provider()).build().unwrap();
    let name = ServerName::try_from(member_name(uid)).unwrap();
    verifier.verify_server_cert(&der(shown), &[], &name, &[], unix(now)).is_ok()
}

/// Whether a member that believes these takes it for some agent.
fn is_agent(believed: &Authorities, shown: &Pair, now: SystemTime) -> bool {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(believed), provider()).build().unwrap();
    verifier.verify_client_cert(&der(shown), &[], unix(now)).is_ok()
}

#[test]
fn members_and_agents_are_believed_and_neither_is_the_other() {
    let now = SystemTime::now();
    let Issued { authorities, member, agent } = issued(Authorities::default(), now);
    // Also by a clock that is four minutes behind.
    for now in [now, now - Duration::from_secs(240)] {
        assert!(is_member(&authorities, &member, UID, now) && is_agent(&authorities, &agent, now));
    }
    assert!(agent.certificate.names_only(&agent_name(UID)));
    assert!(!is_member(&authorities, &member, "another-uid", now));
    assert!(!is_member(&authorities, &agent, UID, now) && !is_agent(&authorities, &member, now));
    assert!(!is_member(&authorities, &member, UID, now + LEAF) && !is_agent(&authorities, &agent, now + LEAF));
    let stranger = issued(Authorities::default(), now);
    assert!(!is_member(&authorities, &stranger.member, UID, now) && !is_agent(&authorities, &stranger.agent, now));
}

#[test]
fn in_a_rotation_who_has_the_bundle_before_and_who_has_the_new_one_believe_each_other() {
    let start = SystemTime::now();
    let first = issued(Authorities::default(), start);
    let prepared = start + LIFE * 7 / 10;
    let second = issued(first.authorities.clone(), prepared);
    let promoted = prepared + Duration::from_secs(3600);
    let mut authorities = second.authorities.clone();
    authorities.advance(&|_| true, promoted, LIFE).unwrap();
    let third = issued(authorities, promoted);
    // Another signs, and nobody needs to be told.
    assert_ne!(third.authorities.signer().unwrap().key, second.authorities.signer().unwrap().key);
    assert_eq!(third.authorities.bundle(), second.authorities.bundle());
    for believed in [&second.authorities, &third.authorities] {
        for shown in [&second, &third] {
            assert!(is_member(believed, &shown.member, UID, promoted) && is_agent(believed, &shown.agent, promoted));
        }
    }
    // Who was not told of the next one does not believe it: that is what the time of spreading is for.
    assert!(!is_member(&first.authorities, &third.member, UID, promoted));
}
