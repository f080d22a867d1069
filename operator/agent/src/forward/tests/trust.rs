//! Tests of who is believed to be a member (design P14).

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::{fake::healthy, *};

#[tokio::test]
async fn a_member_sees_the_certificate_for_its_mirror_and_goes_on_with_the_session() {
    let member = Fake::answering(OK).await;
    let rig = Rig::unknown(&[member.address]);
    let entries = entries(&[&AUTHORITY], &["other", "u"]);
    rig.forwarder.identify(Identity::new(entries.clone()).unwrap());
    for _ in 0..3 {
        assert_eq!(rig.get(MANIFEST).await.status(), 200);
    }
    let certificate: CertificateDer<'_> = CertificateDer::from_pem_slice(entries["u.crt"].as_bytes()).unwrap();
    let agents = member.agents.lock().unwrap();
    assert!(agents.iter().all(|(agent, _)| *agent == certificate));
    assert!(agents.iter().skip(1).any(|(_, resumed)| *resumed), "{}", agents.len());
}

#[tokio::test]
async fn who_does_not_prove_to_be_a_member_learns_nothing_and_is_passed_over() {
    let (stranger, theirs) = (Authority::new(), Authority::new());
    for (other, reason) in [
        (Speaks::Tls(AUTHORITY.member("v", &[&AUTHORITY])), "name"),
        (Speaks::Tls(stranger.member("u", &[&AUTHORITY])), "authority"),
        (Speaks::Tls(AUTHORITY.member("u", &[&theirs])), "refused"),
        (Speaks::Plain, "plain"),
    ] {
        let other = Fake::speaking(other, healthy(OK)).await;
        let alone = Rig::start(&[other.address]);
        assert_eq!(alone.get(MANIFEST).await.status(), 503, "{reason}");
        let counted = format!("tidepool_agent_tls_failures_total{{reason=\"{reason}\"}}");
        assert!(alone.metrics().contains(&counted), "{reason}: {}", alone.metrics());
        let known = Member::new("m-0", "u", other.address);
        assert!(!alone.forwarder.is_alive(&known).await && known.is_distrusted(), "{reason}");
        let member = Fake::answering(OK).await;
        let rig = Rig::start(&home_first(other.address, member.address, "docker.io/library/a"));
        assert_eq!((rig.get(MANIFEST).await.status(), member.seen().len()), (200, 1), "{reason}");
        let seen = other.seen().join("");
        assert!(!seen.contains("GET") && !seen.contains("library"), "{reason}: {seen}");
    }
}

#[tokio::test]
async fn a_member_that_accepts_and_never_proves_who_it_is_costs_one_deadline() {
    let silent = Fake::speaking(Speaks::Nothing, healthy(OK)).await;
    let member = Fake::answering(OK).await;
    let rig = Rig::start(&home_first(silent.address, member.address, "docker.io/library/a"));
    let began = Instant::now();
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    let took = began.elapsed();
    assert!(took >= LIMITS.handshake && took < LIMITS.handshake * 2, "{took:?}");
    assert!(rig.metrics().contains("tls_failures_total{reason=\"timeout\"} 1"), "{}", rig.metrics());
}

#[tokio::test]
async fn without_an_identity_nobody_is_asked_and_with_one_at_once() {
    let member = Fake::answering(OK).await;
    let rig = Rig::unknown(&[member.address]);
    for uid in ["", "another"] {
        if !uid.is_empty() {
            rig.forwarder.identify(identity(&[&AUTHORITY], &[uid]));
        }
        let began = Instant::now();
        assert_eq!(rig.get(MANIFEST).await.status(), 503);
        assert!(began.elapsed() < LIMITS.silence && !rig.forwarder.has_identity_for("u"));
    }
    rig.forwarder.identify(identity(&[&AUTHORITY], &["u"]));
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    assert_eq!(member.agents.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_member_of_a_mirror_that_was_deleted_and_made_again_is_not_believed() {
    let kept = |_: &str| Act::Keep(OK.to_owned());
    let speaks = Speaks::Tls(AUTHORITY.member("u", &[&AUTHORITY]));
    let old = Fake::speaking(speaks, kept).await;
    let rig = Rig::unknown(&[old.address]);
    rig.forwarder.identify(identity(&[&AUTHORITY], &["u", "v"]));
    assert_eq!(rig.get(MANIFEST).await.status(), 200);
    // The connection is still there, and the address the same.
    rig.route("v", &[old.address]);
    assert_eq!((rig.get(MANIFEST).await.status(), old.seen().len()), (503, 1));
    *old.speaks.lock().unwrap() = Speaks::Tls(AUTHORITY.member("v", &[&AUTHORITY]));
    let member = rig.routings.current().members("m")[0].clone();
    assert!(rig.forwarder.is_alive(&member).await);
    assert_eq!((rig.get(MANIFEST).await.status(), old.seen().len()), (200, 2));
}
