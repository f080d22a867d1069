//! Our certificate as credentials: what it opens is not public because we can read it.

use http::StatusCode;
use tempfile::TempDir;
use tidepool_config::{Access, AnonymousPull, Credentials, Reach, Scope, Tls};

use crate::{
    agents::agents,
    certificates::{Authority, MIRROR, Peer, write_member},
    credentials::{ONES, write_password},
    fake::{Fake, ONE},
    guard::Kind,
    proxy::Proxy,
};

/// A member that has a certificate for a registry, and maybe a password with that scope.
async fn member(fake: &Fake, authority: &Authority, scope: Option<Scope>, pull: AnonymousPull) -> (Proxy, TempDir) {
    let (dir, leaf) = (tempfile::tempdir().unwrap(), authority.sign("me", |_| {}));
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        Some(dir.path().join(name))
    };
    let (cert_file, key_file) = (write("me.crt", &leaf.certificate), write("me.key", &leaf.key));
    let tls = Tls { ca_file: write("ca.crt", &authority.pem), cert_file, key_file, ..Tls::default() };
    write_member(dir.path(), &authority.member(MIRROR), &[authority]);
    write_password(dir.path(), "secret");
    let (username, password_file) = (Some("me".to_owned()), Some(dir.path().join("password")));
    let proxy = Proxy::with(fake, |file| {
        file.upstreams[0].tls = Some(tls);
        file.upstreams[0].credentials =
            scope.map(|scope| Credentials { username, password_file, scope, ..Credentials::default() });
        file.agents = Some(agents(dir.path()));
        file.access = Some(Access { anonymous_pull: pull, users_file: None });
    });
    (proxy.await, dir)
}

async fn node(proxy: &Proxy, authority: &Authority) -> String {
    let leaf = authority.agent(MIRROR);
    let peer = Peer::new(proxy.agents.unwrap(), authority, Some(&leaf));
    peer.get(&format!("{ONES}?ns=docker.io")).await.unwrap()
}

#[tokio::test]
async fn what_only_our_certificate_reads_is_served_to_nodes_and_to_no_stranger() {
    let authority = Authority::new();
    let fake = Fake::start_tls(&authority, Some(&authority)).await;
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = member(&fake, &authority, None, AnonymousPull::PublicImages).await;
    for _ in 0..3 {
        let got = proxy.get(ONES).await.status;
        assert!(matches!(got, StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE), "{got}");
        let got = node(&proxy, &authority).await;
        assert!(got.ends_with(ONE), "what strangers are denied is no outage: {got}");
        assert!(!proxy.get(ONES).await.status.is_success(), "also what is kept");
    }
    assert_eq!(proxy.state().await.upstreams[0].reach, Reach::Reachable);
    let (proxy, _dir) = member(&fake, &authority, None, AnonymousPull::All).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
}

#[tokio::test]
async fn a_repository_is_public_only_if_it_is_without_our_certificate() {
    let authority = Authority::new();
    let fake = Fake::start_tls(&authority, Some(&authority)).await;
    fake.guard(Kind::Basic, "secret", "");
    fake.set_public("a/b", true); // to whoever has a certificate
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = member(&fake, &authority, Some(Scope::PublicImages), AnonymousPull::PublicImages).await;
    let got = node(&proxy, &authority).await;
    assert!(got.starts_with("HTTP/1.1 404") || got.starts_with("HTTP/1.1 503"), "{got}");
    let (proxy, _dir) = member(&fake, &authority, Some(Scope::AllImages), AnonymousPull::PublicImages).await;
    assert!(node(&proxy, &authority).await.ends_with(ONE));
    assert_ne!(proxy.get(ONES).await.status, 200);
}
