//! Users of the clients' listener: who is served what, who is told to log in, and what a password costs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::Method;
use tempfile::TempDir;
use tidepool_config::{Access, AnonymousPull, Credentials};

use crate::{
    credentials::write_password,
    fake::{Fake, ONE, TWO},
    guard::Kind,
    proxy::{Got, Proxy},
};

const PUBLIC: &str = "/v2/a/b/manifests/1";
/// `Authorization` of alice with her password, with another one, of somebody unknown, and of nobody.
const RIGHT: &str = "Basic YWxpY2U6c2VjcmV0";
const WRONG: &str = "Basic YWxpY2U6d3Jvbmc=";
const UNKNOWN: &str = "Basic Y2Fyb2w6c2VjcmV0";
const EMPTY: &str = "Basic Og==";

/// Writes a list of users as `htpasswd -B -C 4` does.
pub(crate) fn write_users(folder: &Path, users: &[(&str, &str)]) -> PathBuf {
    let line = |(user, password): &(&str, &str)| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap());
    let (aside, path) = (folder.join("users.new"), folder.join("users"));
    std::fs::write(&aside, users.iter().map(line).collect::<String>()).unwrap();
    std::fs::rename(aside, &path).unwrap();
    path
}

async fn guarded(fake: &Fake, anonymous_pull: AnonymousPull, users: bool) -> (Proxy, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let users_file = users.then(|| write_users(dir.path(), &[("alice", "secret")]));
    let proxy = Proxy::with(fake, |file| file.access = Some(Access { anonymous_pull, users_file })).await;
    (proxy, dir)
}

async fn ask(proxy: &Proxy, path: &str, login: Option<&str>) -> Got {
    let headers: Vec<_> = login.map(|login| ("authorization", login)).into_iter().collect();
    let [get, head] = [Method::GET, Method::HEAD].map(|method| proxy.ask(method, path, &headers));
    let (get, head) = tokio::join!(get, head);
    assert_eq!(get.status, head.status, "{path} {login:?}");
    let challenge = if get.status == 401 { "Basic realm=\"tidepool\"" } else { "" };
    assert_eq!((get.header("www-authenticate"), head.header("www-authenticate")), (challenge, challenge));
    get
}

#[tokio::test]
async fn with_users_a_client_is_told_to_log_in_where_that_would_help() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    // Status of `/v2/` and of a public image.
    for (anonymous, login, base, public) in [
        (AnonymousPull::PublicImages, None, 401, 200),
        (AnonymousPull::PublicImages, Some(EMPTY), 200, 200),
        (AnonymousPull::PublicImages, Some(RIGHT), 200, 200),
        (AnonymousPull::PublicImages, Some(WRONG), 401, 401),
        (AnonymousPull::PublicImages, Some(UNKNOWN), 401, 401),
        (AnonymousPull::PublicImages, Some("Bearer x"), 401, 401),
        (AnonymousPull::All, None, 401, 200),
        (AnonymousPull::All, Some(EMPTY), 200, 200),
        (AnonymousPull::All, Some(RIGHT), 200, 200),
        (AnonymousPull::All, Some(WRONG), 401, 401),
        (AnonymousPull::All, Some(UNKNOWN), 401, 401),
        (AnonymousPull::None, None, 401, 401),
        (AnonymousPull::None, Some(EMPTY), 401, 401),
        (AnonymousPull::None, Some(RIGHT), 200, 200),
        (AnonymousPull::None, Some(WRONG), 401, 401),
        (AnonymousPull::None, Some(UNKNOWN), 401, 401),
    ] {
        let (proxy, _dir) = guarded(&fake, anonymous, true).await;
        assert_eq!(ask(&proxy, "/v2/", login).await.status, base, "/v2/ {anonymous:?} {login:?}");
        let got = ask(&proxy, PUBLIC, login).await;
        assert_eq!(got.status, public, "{anonymous:?} {login:?}");
        if public == 401 {
            assert_eq!(got.code(), "UNAUTHORIZED");
        }
    }
}

#[tokio::test]
async fn without_users_nobody_is_told_to_log_in() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    for (anonymous, public) in
        [(AnonymousPull::PublicImages, 200), (AnonymousPull::All, 200), (AnonymousPull::None, 404)]
    {
        let (proxy, _dir) = guarded(&fake, anonymous, false).await;
        for login in [None, Some(EMPTY), Some(RIGHT), Some(WRONG), Some("Bearer x")] {
            assert_eq!(ask(&proxy, "/v2/", login).await.status, 200, "{anonymous:?} {login:?}");
            assert_eq!(ask(&proxy, PUBLIC, login).await.status, public, "{anonymous:?} {login:?}");
        }
        assert_eq!(proxy.metric("tidepool_password_checks_total").await, 0);
    }
}

#[tokio::test]
async fn a_wrong_login_learns_nothing_on_any_path() {
    let fake = Fake::start().await;
    let (proxy, _dir) = guarded(&fake, AnonymousPull::All, true).await;
    for path in ["/", "/v2/none.example/a/manifests/1", "/v2/A/manifests/1", "/v2/a/b/tags/list", "/v2/_catalog"] {
        assert_eq!(ask(&proxy, path, Some(WRONG)).await.status, 401, "{path}");
    }
    assert_eq!(proxy.ask(Method::PUT, PUBLIC, &[("authorization", WRONG)]).await.status, 401);
    assert!(fake.asked("").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_hashed_once_and_goes_no_further_than_here() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = guarded(&fake, AnonymousPull::None, true).await;
    let pulls = (0..50).map(|_| ask(&proxy, PUBLIC, Some(RIGHT)));
    for got in futures::future::join_all(pulls).await {
        assert_eq!(got.bytes(), ONE.as_bytes());
    }
    ask(&proxy, "/v2/a/b/tags/list", Some(RIGHT)).await;
    assert_eq!(proxy.metric("tidepool_password_checks_total").await, 1);
    for _ in 0..50 {
        assert_eq!(ask(&proxy, PUBLIC, Some(WRONG)).await.status, 401);
    }
    assert_eq!(proxy.metric("tidepool_password_checks_total").await, 2);
    assert!(!fake.asked("").is_empty());
    assert_eq!(fake.logins(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_list_of_users_is_in_use_at_once_and_for_old_logins_too() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let (proxy, dir) = guarded(&fake, AnonymousPull::None, true).await;
    assert_eq!(ask(&proxy, PUBLIC, Some(RIGHT)).await.status, 200);
    assert_eq!(ask(&proxy, PUBLIC, Some(UNKNOWN)).await.status, 401);
    write_users(dir.path(), &[("alice", "wrong"), ("carol", "secret")]);
    let end = tokio::time::Instant::now() + Duration::from_secs(40);
    while ask(&proxy, PUBLIC, Some(UNKNOWN)).await.status != 200 {
        assert!(tokio::time::Instant::now() < end, "the new user stays unknown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ask(&proxy, PUBLIC, Some(WRONG)).await.status, 200, "the new password");
    assert_eq!(ask(&proxy, PUBLIC, Some(RIGHT)).await.status, 401, "the old password");
}

#[tokio::test]
async fn what_needs_credentials_upstream_is_for_users_alone_and_looks_like_nothing_to_others() {
    use AnonymousPull::{All, None as Nothing, PublicImages};
    let (fake, secret) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.guard(Kind::Bearer, "secret", &fake.url());
    fake.set_public("a/b", true);
    fake.tag("a/b", "1", ONE);
    fake.tag("a/closed", "1", TWO);
    write_password(secret.path(), "secret");
    // Status for alice, for a client without a login or with an empty one, and for a wrong one.
    for (anonymous_pull, users, [right, none, wrong]) in [
        (PublicImages, true, [200, 401, 401]),
        (All, true, [200, 200, 401]),
        (Nothing, true, [200, 401, 401]),
        (PublicImages, false, [404, 404, 404]),
        (All, false, [200, 200, 200]),
        (Nothing, false, [404, 404, 404]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let users_file = users.then(|| write_users(dir.path(), &[("alice", "secret")]));
        let password_file = Some(secret.path().join("password"));
        let credentials = Credentials { username: Some("me".into()), password_file, ..Credentials::default() };
        let proxy = Proxy::with(&fake, |file| {
            file.access = Some(Access { anonymous_pull, users_file });
            file.upstreams[0].credentials = Some(credentials);
        });
        let proxy = proxy.await;
        // Alice first: what she pulled is kept.
        let logins =
            [(Some(RIGHT), right), (None, none), (Some(EMPTY), none), (Some(WRONG), wrong), (Some(UNKNOWN), wrong)];
        for (login, status) in logins {
            let closed = ask(&proxy, "/v2/a/closed/manifests/1", login).await;
            assert_eq!(closed.status, status, "{anonymous_pull:?} users: {users} {login:?}");
            if status != 200 {
                let missing = ask(&proxy, "/v2/a/none/manifests/1", login).await;
                assert_eq!(
                    (missing.status, missing.bytes()),
                    (closed.status, closed.bytes()),
                    "it tells what is there"
                );
            }
        }
        assert!(fake.logins().iter().all(|login| login != RIGHT && login != WRONG));
    }
}
