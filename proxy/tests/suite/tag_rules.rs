//! `upstreams[].tags`: how long what a tag points to is believed, and what an upstream's no does (P8).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidepool_config::{Tags, TimeSpan, Upstream, UpstreamGone};
use tokio::time::Instant;

use crate::{
    fake::{Fake, Fault, ONE, TWO},
    private::{ALICE, CLOSED, Member, registry},
    proxy::Proxy,
};

const TAG: &str = "/v2/a/b/manifests/1";
const HOUR: Option<TimeSpan> = Some(TimeSpan(Duration::from_secs(3600)));

async fn proxy(fake: &Fake, tags: Tags) -> Proxy {
    Proxy::with(fake, |file| file.upstreams[0].tags = Some(tags)).await
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Another process on the same store, where the tag was checked then.
async fn checked_at(proxy: Proxy, tag: &str, then: u64) -> Proxy {
    let record = proxy.store().join("tags/docker.io/a/b/_tags").join(tag);
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    json["checked"] = then.into();
    std::fs::write(record, json.to_string()).unwrap();
    proxy.restarted().await
}

#[tokio::test]
async fn p8_within_revalidate_after_nothing_is_asked_also_after_a_restart() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let mut proxy = proxy(&fake, Tags { revalidate_after: HOUR.unwrap(), ..Tags::default() }).await;
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
    fake.forget();
    fake.tag("a/b", "1", TWO);
    for _ in 0..2 {
        let got = proxy.get(TAG).await;
        assert_eq!((got.bytes(), got.header("proxy-docker-cache")), (ONE.as_bytes(), "HIT"));
        assert_eq!(proxy.head(TAG).await.status, 200);
        proxy = proxy.restarted().await;
    }
    assert!(fake.asked("/v2/").is_empty(), "{:?}", fake.asked("/v2/"));
    let proxy = checked_at(proxy, "1", seconds_now() - 3601).await;
    assert_eq!(proxy.get(TAG).await.bytes(), TWO.as_bytes(), "asked again when the time is over");
    fake.tag("a/b", "1", ONE);
    assert_eq!(proxy.get(TAG).await.bytes(), TWO.as_bytes(), "and believed again");
}

#[tokio::test]
async fn p8_a_tag_checked_in_the_future_is_asked_for_and_its_record_set_right() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = proxy(&fake, Tags { revalidate_after: HOUR.unwrap(), ..Tags::default() }).await;
    proxy.get(TAG).await;
    let proxy = checked_at(proxy, "1", seconds_now() + 100_000).await;
    fake.forget();
    for _ in 0..2 {
        assert_eq!(proxy.get(TAG).await.status, 200);
    }
    assert_eq!(fake.asked("/v2/").len(), 1, "the clock went back: asked once, then the record is of now");
}

#[tokio::test]
async fn p8_an_immutable_tag_is_never_asked_for_again() {
    let fake = Fake::start().await;
    let immutable = vec!["v*.*".parse().unwrap()];
    let mut proxy = proxy(&fake, Tags { immutable, serve_stale_for: HOUR, ..Tags::default() }).await;
    let (fixed, moving) = ("/v2/a/b/manifests/v1.2", "/v2/a/b/manifests/v1");
    for (tag, path) in [("v1.2", fixed), ("v1", moving)] {
        fake.tag("a/b", tag, ONE);
        assert_eq!(proxy.get(path).await.bytes(), ONE.as_bytes());
        fake.tag("a/b", tag, TWO);
    }
    proxy = checked_at(proxy, "v1.2", 1).await;
    fake.forget();
    assert_eq!(proxy.get(fixed).await.bytes(), ONE.as_bytes());
    assert_eq!(proxy.head(fixed).await.header("proxy-docker-cache"), "HIT");
    assert!(fake.asked("/v2/").is_empty(), "{:?}", fake.asked("/v2/"));
    assert_eq!(proxy.get(moving).await.bytes(), TWO.as_bytes());
    assert_eq!(fake.asked("HEAD").len(), 1);
}

#[tokio::test]
async fn p8_gone_upstream_is_served_or_refused_as_configured() {
    for (upstream_gone, fault, expected, in_the_outage) in [
        (UpstreamGone::Serve, 404, 200, 200),
        (UpstreamGone::Serve, 401, 200, 200),
        (UpstreamGone::Refuse, 404, 404, 503),
        (UpstreamGone::Refuse, 401, 404, 503),
        (UpstreamGone::Refuse, 403, 404, 503),
        (UpstreamGone::Refuse, 500, 200, 200),
        (UpstreamGone::Refuse, 429, 200, 200),
    ] {
        let case = format!("{upstream_gone:?} {fault}");
        let mut fake = Fake::start_at([127, 0, 0, 61]).await;
        fake.tag("a/b", "1", ONE);
        let proxy = proxy(&fake, Tags { upstream_gone, ..Tags::default() }).await;
        proxy.get(TAG).await;
        fake.fault("/v2/", Fault::Status(fault), 1000);
        for _ in 0..2 {
            assert_eq!(proxy.get(TAG).await.status, expected, "{case}");
        }
        fake.mend();
        fake.down().await;
        let proxy = proxy.restarted().await;
        assert_eq!(proxy.get(TAG).await.status, in_the_outage, "{case}: an outage takes no refusal back");
        fake.up().await;
        let proxy = proxy.restarted().await;
        assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "{case}: as soon as it is there again");
    }
}

#[tokio::test]
async fn p8_what_a_tag_leads_to_is_no_refusal_of_the_tag() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = proxy(&fake, Tags { upstream_gone: UpstreamGone::Refuse, ..Tags::default() }).await;
    proxy.get(TAG).await;
    fake.tag("a/b", "1", TWO);
    fake.fault("GET", Fault::Status(404), 1000);
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
}

#[tokio::test]
async fn p8_a_tag_older_than_serve_stale_for_is_503_in_an_outage() {
    let mut fake = Fake::start_at([127, 0, 0, 62]).await;
    fake.tag("a/b", "1", ONE);
    let proxy = proxy(&fake, Tags { serve_stale_for: HOUR, ..Tags::default() }).await;
    proxy.get(TAG).await;
    let proxy = checked_at(proxy, "1", seconds_now() - 3500).await;
    fake.down().await;
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
    let proxy = checked_at(proxy, "1", seconds_now() - 3601).await;
    let got = proxy.get(TAG).await;
    assert_eq!((got.status.as_u16(), got.code().as_str()), (503, "UNAVAILABLE"));
    fake.up().await;
    let proxy = proxy.restarted().await;
    fake.forget();
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes());
    assert!(fake.asked("GET").is_empty(), "the manifest is still here");
}

#[tokio::test]
async fn p8_what_a_slow_head_led_to_has_time_to_come() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let proxy = Proxy::of(&fake).await;
    proxy.get(TAG).await;
    fake.tag("a/b", "1", TWO);
    // Each well within the 4 s of a check, and both together not.
    fake.fault("HEAD", Fault::Late(2500), 1);
    fake.fault("GET", Fault::Late(2500), 1);
    assert_eq!(proxy.get(TAG).await.bytes(), ONE.as_bytes(), "the check goes on");
    let begun = Instant::now();
    while fake.asked("GET").len() < 2 || proxy.kept("manifests") < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the check came to nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn p14_a_registry_that_names_a_closed_digest_has_to_show_its_bytes() {
    let (fake, liar) = (registry().await, Fake::start().await);
    let address = liar.url();
    let member = Member::of(&fake, tidepool_config::Scope::AllImages, tidepool_config::AnonymousPull::PublicImages);
    let member = member
        .await
        .restarted_with(|file| {
            let mut other = Upstream::plain("liar.test".parse().unwrap());
            other.url = Some(address.parse().unwrap());
            file.upstreams.push(other);
        })
        .await;
    assert_eq!(member.client(CLOSED, ALICE).await, 200);
    let digest = liar.tag("x/y", "1", r#"{"is":"closed"}"#);
    liar.fault("GET", Fault::Status(404), 1000);
    for path in ["/v2/x/y/manifests/1?ns=liar.test", &format!("/v2/x/y/manifests/{digest}?ns=liar.test")] {
        for _ in 0..2 {
            assert_eq!(member.client(path, "").await, 404, "{path}");
        }
    }
    liar.mend();
    tokio::time::sleep(Duration::from_millis(3100)).await; // absence is remembered for 3 s
    assert_eq!(member.client("/v2/x/y/manifests/1?ns=liar.test", "").await, 200, "it has them");
    liar.forget();
    assert_eq!(member.client("/v2/x/y/manifests/1?ns=liar.test", "").await, 200);
    assert!(liar.asked("GET").is_empty(), "shown once");
}
