//! Passwords: how often they are shown, and on whose word they count as refused.

use std::{ops::Range, sync::Arc};

use http::StatusCode;
use tidepool_config::{CredentialState, Reach, Scope, Tls};

use crate::{
    certificates::Authority,
    credentials::{ONES, upstream, with_password},
    fake::{Fake, Fault, ONE},
    guard::Kind,
    proxy::Proxy,
};

/// One pull of each of many repositories, all at once.
async fn pull_all(fake: &Fake, proxy: &Arc<Proxy>, numbers: Range<usize>) -> Vec<StatusCode> {
    let pulls: Vec<_> = numbers
        .map(|n| {
            fake.tag(&format!("a/{n}"), "1", ONE);
            let proxy = Arc::clone(proxy);
            tokio::spawn(async move { proxy.get(&format!("/v2/a/{n}/manifests/1")).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for pull in pulls {
        statuses.push(pull.await.unwrap());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_shown_three_times_at_most_for_200_pulls_and_is_no_absence() {
    for kind in [Kind::Basic, Kind::Bearer] {
        let fake = Fake::start().await;
        fake.guard(kind, "secret", &fake.url());
        // Where the password is for all images, it is not left out for some of them.
        if kind == Kind::Bearer {
            fake.set_public("a/7", true);
        }
        let (proxy, _dir) = with_password(&fake, "wrong", Scope::AllImages, None).await;
        let proxy = Arc::new(proxy);
        let statuses = pull_all(&fake, &proxy, 0..200).await;
        assert!(statuses.iter().all(|status| *status == 503), "{kind:?}: {statuses:?}");
        let shown = fake.shown();
        assert!((1..=3).contains(&shown.len()), "{kind:?}: {shown:?}");
        let state = upstream(&proxy).await;
        assert_eq!(state.credentials, CredentialState::Refused);
        let message = state.message.unwrap();
        assert!(message.contains("me") && message.contains("401") && !message.contains("wrong"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_right_and_is_wrong_now_is_shown_three_times_at_most_for_200_pulls() {
    for kind in [Kind::Basic, Kind::Bearer] {
        let fake = Fake::start().await;
        fake.guard(kind, "secret", &fake.url());
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
        let proxy = Arc::new(proxy);
        let statuses = pull_all(&fake, &proxy, 0..50).await;
        assert!(statuses.iter().all(|status| *status == 200), "{kind:?}: {statuses:?}");
        let before = fake.shown().len();
        fake.guard(kind, "changed", &fake.url());
        let statuses = pull_all(&fake, &proxy, 100..300).await;
        assert!(statuses.iter().all(|status| *status == 503), "{kind:?}: {statuses:?}");
        let shown = fake.shown().split_off(before);
        assert!((1..=3).contains(&shown.len()), "{kind:?}: {shown:?}");
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_private_repositories_at_once_are_all_had_with_a_slow_token_server() {
    for kind in [Kind::Basic, Kind::Bearer] {
        let fake = Fake::start().await;
        fake.guard(kind, "secret", &fake.url());
        fake.fault(if kind == Kind::Basic { "/v2/" } else { "/token" }, Fault::Late(300), 1000);
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
        let proxy = Arc::new(proxy);
        let statuses = pull_all(&fake, &proxy, 0..100).await;
        assert!(statuses.iter().all(|status| *status == 200), "{kind:?}: {statuses:?}");
        let state = upstream(&proxy).await;
        assert_eq!((state.reach, state.credentials), (Reach::Reachable, CredentialState::Accepted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_repositories_that_are_closed_to_us_hold_up_no_others() {
    for kind in [Kind::Basic, Kind::Bearer] {
        let fake = Fake::start().await;
        fake.guard(kind, "secret", &fake.url());
        let (text, status) = if kind == Kind::Basic { ("/v2/a/1", 403) } else { ("scope=repository%3Aa%2F1", 401) };
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
        let proxy = Arc::new(proxy);
        assert_eq!(pull_all(&fake, &proxy, 0..1).await, [200]);
        fake.fault(text, Fault::Status(status), 1000);
        let statuses = pull_all(&fake, &proxy, 100..300).await;
        assert!(statuses[..100].iter().all(|status| *status == 404), "{kind:?}: {statuses:?}");
        assert!(statuses[100..].iter().all(|status| *status == 200), "{kind:?}: {statuses:?}");
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Accepted);
    }
}

#[tokio::test]
async fn slow_answers_hold_up_no_others_once_the_password_is_sure() {
    let fake = Fake::start().await;
    fake.guard(Kind::Basic, "secret", &fake.url());
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 200);
    fake.fault("/blobs/", Fault::Late(5000), 2);
    let blobs = ["one", "two"].map(|text| format!("/v2/a/b/blobs/{}", fake.blob(text)));
    fake.tag("a/b", "2", r#"{"is":"quick"}"#);
    let quick = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let begun = std::time::Instant::now();
        (proxy.get("/v2/a/b/manifests/2").await.status.as_u16(), begun.elapsed().as_millis() < 4500)
    };
    let (one, two, quick) = tokio::join!(proxy.get(&blobs[0]), proxy.get(&blobs[1]), quick);
    assert_eq!((one.status.as_u16(), two.status.as_u16(), quick), (200, 200, (200, true)));
}

#[tokio::test]
async fn what_a_redirects_target_wants_is_no_word_of_the_registry() {
    let authority = Authority::new();
    for (kind, wants) in [(Kind::Basic, Kind::Bearer), (Kind::Bearer, Kind::Bearer), (Kind::Basic, Kind::Basic)] {
        let (fake, other) = (Fake::start_tls(&authority, None).await, Fake::start_tls(&authority, None).await);
        fake.guard(kind, "secret", &fake.url());
        other.guard(wants, "another", &other.url());
        fake.tag("a/b", "1", ONE);
        let path = format!("/v2/a/b/blobs/{}", fake.blob("moved"));
        let dir = tempfile::tempdir().unwrap();
        let ca_file = dir.path().join("ca.crt");
        std::fs::write(&ca_file, &authority.pem).unwrap();
        let tls = Tls { ca_file: Some(ca_file), ..Tls::default() };
        let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, Some(tls)).await;
        fake.fault(&path, Fault::Redirect(format!("{}{path}", other.url())), 10);
        for _ in 0..2 {
            assert_ne!(proxy.get(&path).await.status, 200);
            assert_eq!(proxy.get(ONES).await.status, 200, "{kind:?} {wants:?}");
        }
        assert!(other.shown().is_empty() && other.asked("/token").is_empty(), "{:?}", other.asked(""));
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Accepted);
    }
}

#[tokio::test]
async fn a_refusal_where_a_token_server_redirects_to_is_none_of_the_password() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    fake.guard(Kind::Bearer, "secret", &fake.url());
    other.guard(Kind::Basic, "another", "");
    fake.tag("a/b", "1", ONE);
    fake.fault("GET /token", Fault::Redirect(format!("{}/v2/", other.url())), 2);
    let (proxy, _dir) = with_password(&fake, "secret", Scope::AllImages, None).await;
    assert_eq!(proxy.get(ONES).await.status, 503);
    assert!(other.shown().is_empty());
    assert_eq!(upstream(&proxy).await.credentials, CredentialState::Untried);
}

#[tokio::test]
async fn p10_a_registry_in_trouble_has_not_accepted_a_password() {
    let fake = Fake::start().await;
    fake.guard(Kind::Basic, "secret", &fake.url());
    fake.tag("a/b", "1", ONE);
    for status in [500, 429] {
        let (proxy, _dir) = with_password(&fake, "wrong", Scope::AllImages, None).await;
        // The pull is challenged, and so is `/v2/`; then the password is shown.
        fake.fault("GET /v2/ ", Fault::Status(401), 1);
        fake.fault("GET /v2/ ", Fault::Status(status), 1);
        assert_eq!(proxy.get(ONES).await.status, 503);
        assert_eq!(upstream(&proxy).await.credentials, CredentialState::Untried, "{status}");
        assert_eq!(proxy.metric("tidepool_upstream_logins_total{upstream=\"docker.io\",result=\"accepted\"}").await, 0);
        fake.mend();
    }
}
