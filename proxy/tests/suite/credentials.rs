//! Credentials: shown to whom they are for, as often as need be, and changed while the proxy runs.

use std::path::Path;

use tempfile::TempDir;
use tidepool_config::{Access, AnonymousPull, CredentialState, Credentials, Scope, Tls, UpstreamState};

use crate::{
    certificates::Authority,
    fake::{Fake, Fault, ONE, TWO},
    guard::Kind,
    proxy::{Proxy, eventually},
};

pub(crate) const ONES: &str = "/v2/a/b/manifests/1";

/// Puts a password into its file, as the kubelet does: another file under the same name.
pub(crate) fn write_password(folder: &Path, password: &str) {
    let (aside, path) = (folder.join("password.new"), folder.join("password"));
    std::fs::write(&aside, format!("{password}\n")).unwrap();
    std::fs::rename(aside, path).unwrap();
}

/// A proxy whose clients may read all that `me` with `password` reads.
pub(crate) async fn with_password(fake: &Fake, password: &str, scope: Scope, tls: Option<Tls>) -> (Proxy, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    write_password(dir.path(), password);
    let password_file = Some(dir.path().join("password"));
    let credentials = Credentials { username: Some("me".into()), password_file, scope, ..Credentials::default() };
    let proxy = Proxy::with(fake, |file| {
        (file.upstreams[0].credentials, file.upstreams[0].tls) = (Some(credentials), tls);
        file.access = Some(Access { anonymous_pull: AnonymousPull::All, users_file: None });
    });
    (proxy.await, dir)
}

pub(crate) async fn upstream(proxy: &Proxy) -> UpstreamState {
    proxy.state().await.upstreams.remove(0)
}

#[tokio::test]
async fn a_password_opens_what_is_closed_at_the_registry_or_at_its_token_server() {
    for kind in [Kind::Basic, Kind::Bearer] {
        let (fake, realm) = (Fake::start().await, Fake::start().await);
        fake.guard(kind, "secret", &realm.url());
        realm.guard(Kind::Bearer, "secret", "");
        let blob = fake.blob("closed");
        fake.tag("a/b", "1", ONE);
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Untried);
        assert_eq!(proxy.get(ONES).await.bytes(), ONE.as_bytes(), "{kind:?}");
        assert_eq!(proxy.get(&format!("/v2/a/b/blobs/{blob}")).await.bytes(), b"closed");
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Accepted);
        let logins = "tidepool_upstream_logins_total{upstream=\"docker.io\",result=\"accepted\"}";
        assert_eq!(proxy.metric(logins).await, 1, "{kind:?}");
        match kind {
            Kind::Basic => assert!(realm.asked("").is_empty()),
            Kind::Bearer => {
                assert_eq!(realm.shown().len(), 1);
                assert!(fake.shown().is_empty(), "the registry itself wants tokens");
            }
        }
    }
}

#[tokio::test]
async fn a_docker_configuration_gives_the_login() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.guard(Kind::Bearer, "secret", &fake.url());
    fake.tag("a/b", "1", ONE);
    let path = dir.path().join("config.json");
    std::fs::write(&path, r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"}}}"#).unwrap();
    let proxy = Proxy::with(&fake, |file| {
        let credentials = Credentials { docker_config_file: Some(path), ..Credentials::default() };
        file.upstreams[0].credentials = Some(Credentials { scope: Scope::AllImages, ..credentials });
        file.access = Some(Access { anonymous_pull: AnonymousPull::All, users_file: None });
    });
    assert_eq!(proxy.await.get(ONES).await.status, 200);
}

#[tokio::test]
async fn a_changed_password_is_used_at_once_and_mends_what_was_refused() {
    let fake = Fake::start().await;
    fake.guard(Kind::Bearer, "secret", &fake.url());
    fake.tag("a/b", "1", ONE);
    let (proxy, dir) = with_password(&fake, "wrong", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 503);
    write_password(dir.path(), "secret");
    eventually(async || proxy.get(ONES).await.status == 200).await;
    let state = upstream(&proxy).await;
    assert_eq!((state.credentials, state.message), (CredentialState::Accepted, None));
    assert_eq!(proxy.metric("tidepool_config_reloads_total{result=\"ok\"}").await, 1);
}

#[tokio::test]
async fn what_is_kept_is_served_while_the_password_is_refused_and_revoked_where_only_the_repository_is() {
    let fake = Fake::start().await;
    fake.guard(Kind::Bearer, "secret", &fake.url());
    fake.tag("a/b", "1", ONE);
    let (proxy, dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    write_password(dir.path(), "wrong");
    eventually(async || upstream(&proxy).await.credentials == CredentialState::Untried).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    assert_eq!(upstream(&proxy).await.credentials, CredentialState::Refused);
    write_password(dir.path(), "secret");
    eventually(async || upstream(&proxy).await.credentials == CredentialState::Untried).await;
    fake.fault("/manifests/1", Fault::Status(403), 10);
    assert_eq!(proxy.get(ONES).await.status, 404, "revoked");
    assert_eq!(upstream(&proxy).await.credentials, CredentialState::Accepted);
}

#[tokio::test]
async fn a_repository_that_is_closed_to_us_says_nothing_about_the_password() {
    for kind in [Kind::Basic, Kind::Bearer] {
        let fake = Fake::start().await;
        fake.guard(kind, "secret", &fake.url());
        fake.tag("a/b", "1", ONE);
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
        // The token server, or the registry, refuses one repository.
        fake.fault("scope=repository%3Ax%2Fy", Fault::Status(403), 10);
        fake.fault("/v2/x/y/", Fault::Status(if kind == Kind::Basic { 403 } else { 401 }), 10);
        assert_eq!(proxy.get("/v2/x/y/manifests/1").await.status, 404, "{kind:?}");
        assert_eq!(proxy.get(ONES).await.status, 200, "{kind:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_nothing_while_another_is_let_in_or_the_registry_cannot_say() {
    for lets_everybody_in in [true, false] {
        let fake = Fake::start().await;
        fake.guard(Kind::Basic, "secret", &fake.url());
        fake.set_public("", lets_everybody_in); // `/v2/` itself
        fake.tag("a/b", "1", ONE);
        fake.tag("a/b", "2", TWO);
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
        assert_eq!(proxy.get(ONES).await.status, 200);
        fake.fault("/v2/x/y/", Fault::Status(401), 10);
        let expected = if lets_everybody_in {
            fake.fault("/v2/a/b/", Fault::Late(2000), 1);
            404
        } else {
            fake.fault("GET /v2/ ", Fault::Status(502), 1);
            503
        };
        let closed = async {
            eventually(async || !fake.asked("/v2/a/b/manifests/2").is_empty()).await;
            proxy.get("/v2/x/y/manifests/1").await.status.as_u16()
        };
        let (closed, open) = tokio::join!(closed, proxy.get("/v2/a/b/manifests/2"));
        assert_eq!((closed, open.status.as_u16()), (expected, 200), "{lets_everybody_in}");
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Accepted);
    }
}

#[tokio::test]
async fn p10_the_password_goes_neither_to_a_redirects_target_nor_to_another_host_over_plain_http() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    other.guard(Kind::Basic, "secret", "");
    other.set_public("a/b", true);
    let (digest, _) = (other.blob("moved"), fake.tag("a/b", "1", ONE));
    fake.guard(Kind::Basic, "secret", "");
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    let path = format!("/v2/a/b/blobs/{digest}");
    fake.fault(&path, Fault::Redirect(format!("{}{path}", other.url())), 10);
    assert_eq!(proxy.get(&path).await.bytes(), b"moved");
    assert!(fake.shown().iter().any(|line| line.contains(&path)) && other.shown().is_empty(), "{:?}", other.shown());

    let (fake, other) = (Fake::start().await, Fake::start().await);
    other.guard(Kind::Bearer, "secret", "");
    fake.guard(Kind::Bearer, "secret", &other.url().replace("127.0.0.1", "localhost"));
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 503);
    assert!(other.shown().is_empty(), "{:?}", other.shown());
    assert!(upstream(&proxy).await.message.unwrap().contains("localhost"));
}

#[tokio::test]
async fn over_verified_https_a_token_server_elsewhere_gets_the_password_and_otherwise_not() {
    let authority = Authority::new();
    let (fake, realm) = (Fake::start_tls(&authority, None).await, Fake::start_tls(&authority, None).await);
    let elsewhere = realm.url().replace("localhost", "127.0.0.1");
    fake.guard(Kind::Bearer, "secret", &elsewhere);
    realm.guard(Kind::Bearer, "secret", "");
    fake.tag("a/b", "1", ONE);
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, &authority.pem).unwrap();
    let verified = Tls { ca_file: Some(ca_file), ..Tls::default() };
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, Some(verified)).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    assert_eq!(realm.shown().len(), 1);

    let unverified = Tls { insecure_skip_verify: true, ..Tls::default() };
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, Some(unverified)).await;
    assert_eq!(proxy.get(ONES).await.status, 503);
    assert_eq!(realm.shown().len(), 1, "nobody vouches for what names the token server");
    fake.guard(Kind::Basic, "secret", "");
    let unverified = Tls { insecure_skip_verify: true, ..Tls::default() };
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, Some(unverified)).await;
    assert_eq!(proxy.get(ONES).await.status, 200, "the registry itself gets it");
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 503, "nobody vouches for the registry");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_registry_that_asks_for_one() {
    let authority = Authority::new();
    let fake = Fake::start_tls(&authority, Some(&authority)).await;
    fake.tag("a/b", "1", ONE);
    let (dir, leaf) = (tempfile::tempdir().unwrap(), authority.sign("me", |_| {}));
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        Some(dir.path().join(name))
    };
    let ca_file = write("ca.crt", &authority.pem);
    let tls = Tls { ca_file: ca_file.clone(), cert_file: write("me.crt", &leaf.certificate), ..Tls::default() };
    let tls = Tls { key_file: write("me.key", &leaf.key), ..tls };
    let all = Some(Access { anonymous_pull: AnonymousPull::All, users_file: None });
    let proxy = Proxy::with(&fake, |file| (file.upstreams[0].tls, file.access) = (Some(tls), all)).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    let without = Tls { ca_file, ..Tls::default() };
    let proxy = Proxy::with(&fake, |file| file.upstreams[0].tls = Some(without)).await;
    assert_eq!(proxy.get(ONES).await.status, 503);
}

#[tokio::test]
async fn p10_a_limit_of_strangers_is_not_ours_also_where_we_go_as_one() {
    let fake = Fake::start().await;
    fake.guard(Kind::Bearer, "secret", &fake.url());
    fake.set_public("a/b", true);
    fake.tag("a/b", "1", ONE);
    fake.tag("a/b", "2", TWO);
    let (proxy, _dir) = with_password(&fake, "wrong", Scope::PublicImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    assert_eq!(upstream(&proxy).await.credentials, CredentialState::Refused);
    fake.fault("/manifests/2", Fault::With(429, "retry-after", "60".into()), 1);
    assert_eq!(proxy.get("/v2/a/b/manifests/2").await.status, 503);
    assert_eq!(upstream(&proxy).await.health.retry_after, None);
    assert_eq!(proxy.get("/v2/a/b/manifests/2").await.bytes(), TWO.as_bytes(), "it is asked again");
}
