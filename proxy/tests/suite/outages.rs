//! The outage matrix: every way in which an upstream goes bad, by everything that can be asked for (P1, P2, P8, P13).
//!
//! What is kept is served, a tag within 2 s and from then on without asking; what is not is 503 within P1's deadlines, and
//! 404 only where the upstream says that it has no such thing.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, future::join_all, stream};
use http::Method;
use tokio::time::Instant;

use crate::{
    credentials::upstream,
    fake::{Fault, ONE, digest_of},
    proxy::{Got, Proxy},
    sick::{Bad, Sick},
};

/// Cases at the same time, where they are timed: they must not be each other's busy machine.
const AT_A_TIME: usize = 6;
/// The same where each asks for eight things at once, and some of them wait for a long time and do nothing.
const WAITING: usize = 12;
/// Pulls of a kept tag once it is known that the upstream is bad.
const PULLS: u32 = 8;
const TAG: &str = "/v2/a/b/manifests/1";
const LAYER: &[u8] = b"a layer";
/// Sooner than any wait for an upstream that is asked for what is not kept: 8 s. That none is asked shows by counting.
const AT_ONCE: Duration = Duration::from_millis(7500);
/// A kept tag waits 1.5 s for its upstream, so that it comes within 2 s: a test of `pull::tags` holds that to it on a clock
/// of its own. On a machine that has as much else to do as this suite gives it, it is still sooner than what is not kept.
const TAG_WITHIN: Duration = Duration::from_secs(6);
/// P1's deadlines of headers and of a first byte are 8 s and 15 s. What a busy machine makes of them is told from the next
/// longer one: the other of the two, and both one after the other.
const HEADERS: Duration = Duration::from_millis(14_500);
const FIRST_BYTE: Duration = Duration::from_secs(22);
/// What a kept tag waits each time that its upstream is asked and does not answer.
const ASKING: Duration = Duration::from_millis(1500);

/// What the second pull of a kept tag costs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Nothing is asked.
    Nothing,
    /// It is asked again: the upstream answers, at once.
    Asks,
}

/// Each way to go bad, what a cold pull is answered, and what a warm one costs the second time.
fn ways() -> BTreeMap<&'static str, (Bad, u16, Again)> {
    let status = |code| Bad::Fault(Fault::Status(code));
    let after = |code, value: &str| Bad::Fault(Fault::With(code, "retry-after", value.to_owned()));
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi";
    let soon = "Fri, 31 Dec 2100 23:59:59 GMT";
    let mut ways = BTreeMap::new();
    for (name, bad) in [
        ("refused", Bad::Refused),
        ("black hole", Bad::BlackHole),
        ("never answers", Bad::Says("")),
        ("half a header", Bad::Says("HTTP/1.1 200 OK\r\ncontent-ty")),
        ("leaves at once", Bad::SaysAndLeaves("")),
        ("leaves in the header", Bad::SaysAndLeaves("HTTP/1.1 200 OK\r\ncontent-ty")),
        ("not HTTP", Bad::SaysAndLeaves("SSH-2.0-OpenSSH_9.9\r\n")),
        ("a page", Bad::Says(page)),
        ("a page of the right path", Bad::Fault(Fault::Page)),
        ("errors with 200", Bad::Fault(Fault::Json(r#"{"errors":[{"code":"UNAVAILABLE"}]}"#))),
        ("a list with 200", Bad::Fault(Fault::Json("[]"))),
        ("silent", Bad::Fault(Fault::Silent)),
        ("204", status(204)),
        ("304", status(304)),
        ("408", status(408)),
        ("429", status(429)),
        ("429 for a minute", after(429, "60")),
        ("429 until a date", after(429, soon)),
        ("500", status(500)),
        ("502", status(502)),
        ("503 for a minute", after(503, "60")),
        ("redirect to nowhere", Bad::Fault(Fault::Redirect("http://127.0.0.1:1/".into()))),
        ("redirect without address", status(307)),
        ("redirect in circles", Bad::Fault(Fault::Redirect("/v2/round".into()))),
        ("redirect to where it may not lead", Bad::Downgrade),
        ("distrusted", Bad::Distrusted),
        ("misnamed", Bad::Misnamed),
        ("expired", Bad::Expired),
        ("no such name", Bad::NoName),
        ("silent name server", Bad::SilentNames),
        ("token server silent", Bad::TokenServer(Fault::Silent)),
        ("token server 500", Bad::TokenServer(Fault::Status(500))),
        ("token server 404", Bad::TokenServer(Fault::Status(404))),
        ("token server's page", Bad::TokenServer(Fault::Page)),
    ] {
        ways.insert(name, (bad, 503, Again::Nothing));
    }
    for (name, code) in [("401", 401), ("403", 403), ("404", 404), ("410", 410)] {
        ways.insert(name, (status(code), 404, Again::Asks));
    }
    ways.insert("400", (status(400), 503, Again::Asks));
    ways
}

async fn timed(proxy: &Proxy, method: Method, path: &str) -> (Got, Duration) {
    let begun = Instant::now();
    let got = proxy.ask(method, path, &[]).await;
    (got, begun.elapsed())
}

/// Everything that is kept, but the tag: nothing is asked.
async fn kept_is_served(way: &str, sick: &Sick) {
    let before = sick.asked();
    let paths = [(format!("/v2/a/b/manifests/{}", digest_of(ONE.as_bytes())), ONE.as_bytes())];
    for (path, bytes) in paths.into_iter().chain([(format!("/v2/a/b/blobs/{}", digest_of(LAYER)), LAYER)]) {
        for method in [Method::HEAD, Method::GET] {
            let (got, took) = timed(&sick.proxy, method.clone(), &path).await;
            let body = if method == Method::GET { bytes } else { b"" };
            assert_eq!((got.status.as_u16(), got.bytes()), (200, body), "{way}: {method} {path}");
            assert!(took < AT_ONCE, "{way}: {method} {path} took {took:?}");
        }
    }
    assert_eq!(sick.asked(), before, "{way}");
}

/// The tag soon, and then without asking, but for one pull each time that a rest is over: after 1 s, then 2, then 4.
async fn tag_is_served(way: &str, sick: &Sick, again: Again) {
    let (got, took) = timed(&sick.proxy, Method::GET, TAG).await;
    assert_eq!((got.status.as_u16(), got.bytes()), (200, ONE.as_bytes()), "{way}");
    assert!(took < TAG_WITHIN, "{way}: the first took {took:?}");
    let (before, begun) = (sick.asked(), Instant::now());
    for method in [Method::GET, Method::HEAD].into_iter().cycle().take(PULLS as usize) {
        assert_eq!(timed(&sick.proxy, method, TAG).await.0.status, 200, "{way}");
    }
    if again == Again::Nothing {
        // Where all of them asked, that would be once each, and as long each where nobody answers.
        assert!(sick.asked() - before < PULLS as usize, "{way}: asked {} times", sick.asked() - before);
        assert!(begun.elapsed() < ASKING * PULLS, "{way}: took {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_p13_what_is_kept_is_served_in_every_outage_and_after_a_restart_in_it() {
    let cases = ways().into_iter().map(|(way, (bad, _, again))| async move {
        let mut sick = Sick::well(bad).await;
        sick.fake.tag("a/b", "1", ONE);
        sick.fake.blob(LAYER);
        for path in [TAG, &format!("/v2/a/b/blobs/{}", digest_of(LAYER))] {
            assert_eq!(sick.proxy.get(path).await.status, 200, "{way}");
        }
        sick.fall_ill().await;
        tag_is_served(way, &sick, again).await;
        kept_is_served(way, &sick).await;
        sick.proxy = sick.proxy.restarted().await;
        assert_eq!(sick.proxy.ready().await, 200, "{way}");
        kept_is_served(way, &sick).await;
        tag_is_served(way, &sick, again).await;
    });
    stream::iter(cases).buffer_unordered(AT_A_TIME).collect::<()>().await;
}

/// Everything that is not kept, with how long it may take.
fn cold() -> Vec<(Method, String, Duration)> {
    let (manifest, layer) = (digest_of(b"a manifest"), digest_of(LAYER));
    vec![
        (Method::GET, TAG.to_owned(), HEADERS),
        (Method::HEAD, "/v2/a/b/manifests/2".to_owned(), HEADERS),
        (Method::GET, format!("/v2/a/b/manifests/{manifest}"), HEADERS),
        (Method::HEAD, format!("/v2/c/d/manifests/{manifest}"), HEADERS),
        (Method::GET, format!("/v2/a/b/blobs/{layer}"), FIRST_BYTE),
        (Method::HEAD, format!("/v2/a/b/blobs/{}", digest_of(b"another")), HEADERS),
        (Method::GET, "/v2/a/b/tags/list".to_owned(), HEADERS),
        (Method::GET, format!("/v2/a/b/referrers/{manifest}"), HEADERS),
    ]
}

/// Asks for all of it at the same time; tells what is wrong.
async fn cold_is_refused(way: &str, proxy: &Proxy, expected: u16, at_once: bool) -> Vec<String> {
    let asked = cold().into_iter().map(|(method, path, within)| async move {
        let (got, took) = timed(proxy, method.clone(), &path).await;
        let within = if at_once { AT_ONCE } else { within };
        let leads_away = got.headers.contains_key("www-authenticate") || got.headers.contains_key("location");
        // The body of an answer to HEAD is none.
        let unavailable = if method == Method::GET { got.code() == "UNAVAILABLE" } else { expected == 503 };
        let right = got.status == expected && took < within && !leads_away && unavailable == (expected == 503);
        (!right).then(|| format!("{way}, again {at_once}: {method} {path} took {took:?}: {got:?}"))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Lists among them.
const LISTS: usize = 2;

/// Waits a moment for what is noted only after the last has been answered. On a slow machine the rest may be over by then.
async fn settle(proxy: &Proxy) {
    for _ in 0..20 {
        let health = upstream(proxy).await.health;
        if health.open_until.or(health.retry_after).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether what is not kept is not even asked for: it did not answer, or said when to come back.
fn leaves_alone(bad: &Bad) -> bool {
    match bad {
        Bad::Fault(Fault::Silent | Fault::With(..)) | Bad::TokenServer(Fault::Silent) => true,
        Bad::Fault(_) | Bad::TokenServer(_) | Bad::Downgrade => false,
        Bad::Says(text) => !text.ends_with("hi"),
        _ => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_what_is_not_kept_is_503_within_the_deadline_in_an_outage_and_404_only_where_the_upstream_says_so() {
    let made = stream::iter(ways()).map(|(way, (bad, expected, _))| async move {
        let mut sick = Sick::well(bad.clone()).await;
        sick.fake.tag("a/b", "1", ONE);
        sick.fake.blob(LAYER);
        sick.fall_ill().await;
        (way, bad, expected, sick)
    });
    let made: Vec<_> = made.buffer_unordered(AT_A_TIME).collect().await;
    let cases = made.iter().map(|(way, bad, expected, sick)| async move {
        let (way, expected) = (*way, *expected);
        let mut wrong = cold_is_refused(way, &sick.proxy, expected, false).await;
        if leaves_alone(bad) {
            settle(&sick.proxy).await;
        }
        let before = sick.asked();
        let again = cold_is_refused(way, &sick.proxy, expected, true).await;
        if !leaves_alone(bad) {
            wrong.extend(again);
        } else if again.len() > 1 + LISTS || sick.asked() > before + 1 + LISTS {
            // Where the rest is over, one alone may look whether it is back, and lists do not wait for it.
            wrong.push(format!("{way}: asked {} times more, {again:?}", sick.asked() - before));
        }
        wrong
    });
    let wrong: Vec<_> = stream::iter(cases).buffer_unordered(WAITING).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
