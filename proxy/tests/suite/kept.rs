//! What is kept while credentials come, go and end, and while the upstream is slow or silent (P1, P8, P14).

use std::time::Duration;

use http::Method;
use tidepool_config::{AnonymousPull::PublicImages, Scope};
use tokio::time::Instant;

use crate::{
    fake::{Fault, TWO, digest_of, noise},
    private::{ALICE, CLOSED, Member, OPEN, registry},
    proxy::eventually,
};

#[tokio::test]
async fn without_the_credentials_what_needed_them_is_nobodys() {
    let mut fake = registry().await;
    let layer = fake.blob("closed layer");
    let member = Member::of(&fake, Scope::AllImages, PublicImages).await;
    let digest = digest_of(br#"{"is":"closed"}"#);
    let paths = [
        CLOSED.to_owned(),
        format!("/v2/a/closed/manifests/{digest}?ns=docker.io"),
        format!("/v2/a/closed/blobs/{layer}?ns=docker.io"),
    ];
    for path in &paths {
        assert_eq!(member.asked(path).await, [200, 401, 200], "{path}");
    }
    assert_eq!(member.asked(OPEN).await, [200; 3]);
    let member = member.restarted_with(|file| file.upstreams[0].credentials = None).await;
    for path in &paths {
        assert_eq!(member.asked(path).await, [404, 401, 404], "{path}");
    }
    assert_eq!(member.asked(OPEN).await, [200; 3]);
    fake.down().await;
    let member = member.restarted().await;
    for path in &paths {
        assert_eq!(member.asked(path).await, [503; 3], "{path}");
    }
    assert_eq!(member.asked(OPEN).await, [200; 3]);
}

#[tokio::test]
async fn what_was_public_a_day_ago_needed_credentials_when_it_came_since() {
    let fake = registry().await;
    fake.set_public("a/other", true);
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    fake.set_public("a/open", false);
    let member = member.a_day_later().await;
    let closed = fake.tag("a/open", "2", TWO);
    fake.tag("a/other", "1", r#"{"is":"other"}"#);
    let path = "/v2/a/open/manifests/2?ns=docker.io";
    assert_eq!(member.client(path, ALICE).await, 200);
    assert_eq!(member.node("/v2/a/other/manifests/1?ns=docker.io").await, 200);
    fake.fault(format!("/v2/a/other/manifests/{closed}"), Fault::Status(404), 10);
    assert_eq!(member.node(&format!("/v2/a/other/manifests/{closed}?ns=docker.io")).await, 404);
    fake.fault("/v2/a/open/manifests/2", Fault::Status(403), 10);
    assert_eq!(member.client(path, ALICE).await, 404, "revoked");
}

#[tokio::test]
async fn a_user_joins_the_fill_of_another_closed_repository() {
    let fake = registry().await;
    let layer = fake.blob(noise(300_000, 3));
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    fake.fault("GET /v2/a/", Fault::Slow(100), 4);
    let paths = ["closed", "second"].map(|name| format!("/v2/a/{name}/blobs/{layer}?ns=docker.io"));
    let both = tokio::join!(member.client(&paths[0], ALICE), member.client(&paths[1], ALICE));
    assert_eq!(both, (200, 200));
    assert!(fake.asked("GET /v2/a/second/").is_empty() || fake.asked("GET /v2/a/closed/").is_empty(), "one joined");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_something_closed_is_not_told_by_its_fill() {
    let fake = registry().await;
    let layer = fake.blob(noise(300_000, 4));
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    let path = format!("/v2/a/open/blobs/{layer}");
    // A stranger without a token and with one; then we, who are told no size, and wait while the fill begins.
    fake.fault(format!("HEAD {path}"), Fault::Late(1), 2);
    fake.fault(format!("HEAD {path}"), Fault::Late(3000), 1);
    fake.fault(format!("HEAD {path}"), Fault::NoLength, 1);
    fake.fault(&path, Fault::Status(404), 10);
    fake.fault(format!("GET /v2/a/closed/blobs/{layer}"), Fault::Slow(300), 2);
    let (closed, open) = (format!("/v2/a/closed/blobs/{layer}?ns=docker.io"), format!("{path}?ns=docker.io"));
    let (fill, asked) = tokio::join!(
        async {
            eventually(async || fake.asked(&format!("HEAD {path}")).len() >= 3).await;
            member.client(&closed, ALICE).await
        },
        member.proxy.ask(Method::HEAD, &open, &[])
    );
    assert_eq!((fill, asked.status.as_u16()), (200, 401));
}

#[tokio::test]
async fn a_stranger_waits_no_longer_than_others() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    fake.fault("/", Fault::Late(2500), 1000);
    let begun = Instant::now();
    assert_eq!(member.client(OPEN, "").await, 503);
    // The answer that its deadline of 8 s does not wait for would come after 10 s.
    assert!(begun.elapsed() < Duration::from_millis(9900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_kept_tag_comes_in_time_though_its_permission_is_a_day_old() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    let member = member.a_day_later().await;
    fake.fault("/", Fault::Silent, 1000);
    let begun = Instant::now();
    assert_eq!(member.client(OPEN, "").await, 200);
    // Without P8's 1.5 s, which a test of `pull::tags` holds to, this is 8.
    assert!(begun.elapsed() < Duration::from_millis(7500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_anybody_had_is_served_when_credentials_come_into_use_in_an_outage() {
    for limited in [false, true] {
        let mut fake = registry().await;
        let layer = format!("/v2/a/open/blobs/{}?ns=docker.io", fake.blob("open layer"));
        let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
        let credentials = member.proxy.file.upstreams[0].credentials.clone();
        let member = member.restarted_with(|file| file.upstreams[0].credentials = None).await;
        assert_eq!((member.node(OPEN).await, member.node(&layer).await), (200, 200));
        if limited {
            fake.fault("/", Fault::Status(429), 1000);
        } else {
            fake.down().await;
        }
        let member = member.restarted_with(|file| file.upstreams[0].credentials = credentials).await;
        assert_eq!(member.asked(OPEN).await, [200; 3], "limited: {limited}");
        assert_eq!(member.asked(&layer).await, [200; 3], "limited: {limited}");
        assert_eq!(member.asked(CLOSED).await, [503; 3], "limited: {limited}");
    }
}

#[tokio::test]
async fn a_tag_that_is_gone_does_not_close_its_repository() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    assert_eq!(member.asked(OPEN).await, [200; 3]);
    fake.untag("a/open", "1");
    let member = member.a_day_later().await;
    assert_eq!(member.asked(OPEN).await, [200; 3]);
    assert_eq!(member.node("/v2/a/open/manifests/2?ns=docker.io").await, 404);
}

#[tokio::test]
async fn a_part_is_asked_for_once_also_where_only_get_tells() {
    let fake = registry().await;
    let layer = fake.blob("closed layer");
    let member = Member::of(&fake, Scope::PublicImages, PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    assert_eq!(member.client(&format!("/v2/a/closed/blobs/{layer}?ns=docker.io"), ALICE).await, 200);
    let path = format!("/v2/a/open/blobs/{layer}");
    let asked = format!("{path}?ns=docker.io");
    fake.fault(format!("HEAD {path}"), Fault::Status(404), 10);
    fake.forget();
    assert_eq!(member.asked(&asked).await, [404, 401, 404]);
    assert_eq!(member.client(&asked, "").await, 401);
    let heads = fake.asked(&format!("HEAD {path}")).len();
    assert!(heads <= 3, "that it is not there is known for a moment: {heads}");
    fake.mend();
    fake.fault(format!("HEAD {path}"), Fault::Status(405), 10);
    eventually(async || member.client(&asked, "").await == 200).await;
}

#[tokio::test]
async fn a_line_of_another_address_says_nothing() {
    let (fake, other) = (registry().await, registry().await);
    other.set_public("a/closed", true);
    other.untag("a/closed", "1");
    let member = Member::of(&fake, Scope::AllImages, PublicImages).await;
    let path = format!("/v2/a/closed/manifests/{}?ns=docker.io", digest_of(br#"{"is":"closed"}"#));
    assert_eq!(member.node(&path).await, 200);
    other.fault("/v2/a/closed/", Fault::Status(404), 100);
    let elsewhere = other.url().parse().unwrap();
    let member = member.restarted_with(|file| file.upstreams[0].url = Some(elsewhere)).await;
    assert_eq!(member.node(&path).await, 404);
}
