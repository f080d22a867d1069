//! Tests of new certificates and a new authority under way: no pull fails.

use std::sync::atomic::Ordering;

use super::*;

/// A member whose connections are kept.
async fn member(authority: &Authority, believed: &[&Authority]) -> Fake {
    Fake::speaking(Speaks::Tls(authority.member("u", believed)), |_| Act::Keep(OK.to_owned())).await
}

#[tokio::test]
async fn an_authority_is_replaced_in_a_pull_loop_and_no_pull_fails() {
    let (old, new) = (Authority::new(), Authority::new());
    let member = member(&old, &[&old]).await;
    let rig = Rig::unknown(&[member.address]);
    rig.forwarder.identify(identity(&[&old], &["u"]));
    let both: [&Authority; 2] = [&old, &new];
    let becomes = |config| *member.speaks.lock().unwrap() = Speaks::Tls(config);
    let pulled = AtomicUsize::new(0);
    let some_pulls = async || {
        let before = pulled.load(Ordering::SeqCst);
        while pulled.load(Ordering::SeqCst) < before + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let pulling = async {
        loop {
            assert_eq!(rig.get(MANIFEST).await.status(), 200);
            pulled.fetch_add(1, Ordering::SeqCst);
        }
    };
    let rotating = async {
        // As the operator does it: believed everywhere first, then used, the old one believed until nobody uses it.
        some_pulls().await;
        becomes(old.member("u", &both));
        rig.forwarder.identify(identity(&[&new, &old], &["u"]));
        some_pulls().await;
        rig.forwarder.identify(identity(&both, &["u"]));
        some_pulls().await;
        becomes(new.member("u", &both));
        some_pulls().await;
        rig.forwarder.identify(identity(&[&new], &["u"]));
        becomes(new.member("u", &[&new]));
        some_pulls().await;
    };
    tokio::select! {
        () = rotating => {}
        () = pulling => {}
    }
    // One connection for each identity: those of the one before were not used again, and none was lost between.
    assert_eq!(member.agents.lock().unwrap().len(), 4);
    assert_eq!(rig.metrics().matches("tls_failures_total{").count(), 0, "{}", rig.metrics());
}

#[tokio::test]
async fn a_renewal_for_another_mirror_leaves_connections_alone() {
    let member = member(&AUTHORITY, &[&AUTHORITY]).await;
    let rig = Rig::unknown(&[member.address]);
    let mut entries = entries(&[&AUTHORITY], &["u", "v"]);
    for _ in 0..3 {
        rig.forwarder.identify(Identity::new(entries.clone()).unwrap());
        assert_eq!(rig.get(MANIFEST).await.status(), 200);
        let renewed = AUTHORITY.agent("v", &entries["tls.key"]);
        entries.insert("v.crt".to_owned(), renewed);
    }
    assert_eq!(member.agents.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_under_way_ends_well_on_the_connection_it_began_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let told = Arc::new(tokio::sync::Notify::new());
    let waits = Arc::clone(&told);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123456789".to_owned();
    let act = move |_: &str| Act::Wait(head.clone(), Arc::clone(&waits), "abcdefghij".to_owned());
    let member = Fake::speaking(Speaks::Tls(old.member("u", &[&old])), act).await;
    let rig = Rig::unknown(&[member.address]);
    rig.forwarder.identify(identity(&[&old], &["u"]));
    let path = blob_path();
    let rotating = async {
        while member.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        *member.speaks.lock().unwrap() = Speaks::Tls(new.member("u", &[&new]));
        rig.forwarder.identify(identity(&[&new], &["u"]));
        tokio::time::sleep(Duration::from_millis(100)).await;
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(rig.get(&path), rotating);
    assert_eq!((reply.status(), reply.body.as_str(), reply.reset), (200, "0123456789abcdefghij", false));
    assert_eq!(member.agents.lock().unwrap().len(), 1, "asked again");
}
