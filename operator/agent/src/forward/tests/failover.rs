//! Tests of members that fall silent, break, or say that they cannot (design N6): who is asked next, and what it costs.

use std::sync::atomic::Ordering;

use super::*;

/// A member that accepts, and answers nothing, about its health neither: stopped, or out of reach.
pub(super) async fn dead() -> Fake {
    Fake::start(|_| Act::Stall(String::new())).await
}

/// A member that is healthy, and does with requests as `act` says, by their number.
async fn member(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(move |head| match head.starts_with("GET /v2/ ") {
        true => Act::Write(OK.to_owned()),
        false => act(count.fetch_add(1, Ordering::SeqCst)),
    })
    .await
}

const KEY: &str = "docker.io/library/a";
const DETECTION: Duration = LIMITS.silence.saturating_mul(2);
/// What a busy machine may add, so that it is still no third silence.
const SLACK: Duration = LIMITS.silence.saturating_sub(Duration::from_millis(50));

async fn timed(rig: &Rig, path: &str) -> (u16, Duration) {
    let began = Instant::now();
    let status = rig.get(path).await.status();
    (status, began.elapsed())
}

#[tokio::test]
async fn n6_a_member_that_is_silent_is_dead_after_two_silences_and_the_next_serves() {
    let (wedged, other) = (dead().await, Fake::answering(OK).await);
    let rig = Rig::start(&home_first(wedged.address, other.address, KEY));
    let (status, took) = timed(&rig, MANIFEST).await;
    assert!(status == 200 && took >= LIMITS.silence && took < DETECTION + SLACK, "{status} {took:?}");
    for _ in 0..3 {
        let (status, took) = timed(&rig, MANIFEST).await;
        assert!(status == 200 && took < LIMITS.silence, "the second object pays again: {status} {took:?}");
    }
    assert_eq!(wedged.seen().len(), 1);
}

#[tokio::test]
async fn n6_when_nobody_is_left_the_reply_is_503_and_from_then_on_at_once() {
    let (one, two) = (dead().await, dead().await);
    let rig = Rig::start(&[one.address, two.address]);
    let (status, took) = timed(&rig, MANIFEST).await;
    assert!(status == 503 && took < DETECTION + SLACK, "{status} {took:?}");
    for path in [MANIFEST, &blob_path(), "/v2/library/b/manifests/1?ns=docker.io"] {
        let (status, took) = timed(&rig, path).await;
        assert!(status == 503 && took < LIMITS.silence, "{status} {took:?}");
    }
}

#[tokio::test]
async fn n6_members_that_died_together_cost_one_detection_together() {
    let (mut wedged, other) = (Vec::new(), Fake::answering(OK).await);
    for _ in 0..5 {
        wedged.push(dead().await);
    }
    let mut members: Vec<_> = wedged.iter().map(|fake| fake.address).collect();
    // The live one is the last that is asked.
    let ids: Vec<_> = (0..6).map(|n| format!("m-{n}")).collect();
    let last = crate::rendezvous::order(&ids, KEY, String::as_str)[5];
    members.insert(ids.iter().position(|id| id == last).unwrap(), other.address);
    let rig = Rig::start(&members);
    let (status, took) = timed(&rig, MANIFEST).await;
    assert!(status == 200 && took < DETECTION + SLACK, "{status} {took:?}");
}

#[tokio::test]
async fn n6_members_that_died_together_cost_one_detection_where_one_is_found_a_moment_before_the_other() {
    let (home, other) = (dead().await, dead().await);
    let rig = Rig::start(&home_first(home.address, other.address, KEY));
    let members = rig.routings.current().members("m").to_vec();
    let other = members.iter().find(|member| member.address() == other.address).unwrap();
    let asked_later = async {
        let _held = other.checked.lock().await;
        tokio::time::sleep(LIMITS.silence + Duration::from_millis(50)).await;
    };
    let ((status, took), ()) = tokio::join!(timed(&rig, MANIFEST), asked_later);
    assert!(status == 503 && took < DETECTION + SLACK, "{status} {took:?}");
    assert!(members.iter().all(|member| !member.may_be_asked()));
}

#[tokio::test]
async fn n6_who_comes_while_a_member_is_found_dead_shares_the_verdict() {
    let wedged = dead().await;
    let rig = Rig::start(&[wedged.address]);
    let late = async {
        tokio::time::sleep(DETECTION.mul_f64(0.9)).await;
        timed(&rig, MANIFEST).await
    };
    let ((first, _), (second, took)) = tokio::join!(timed(&rig, MANIFEST), late);
    assert_eq!((first, second), (503, 503));
    assert!(took < LIMITS.silence, "it found out by itself: {took:?}");
}

#[tokio::test]
async fn n6_a_dead_connection_to_a_live_member_costs_one_silence() {
    let member = member(|n| if n == 0 { Act::Stall(String::new()) } else { Act::Write(OK.to_owned()) }).await;
    let rig = Rig::start(&[member.address]);
    let (status, took) = timed(&rig, MANIFEST).await;
    assert!(status == 200 && took >= LIMITS.silence && took < DETECTION, "{status} {took:?}");
    assert_eq!(member.seen().len(), 2);
}

#[tokio::test]
async fn n6_a_live_member_that_waits_for_its_upstream_is_asked_twice_and_never_more() {
    let slow = member(|_| Act::Stall(String::new())).await;
    let rig = Rig::start(&[slow.address]);
    let (status, took) = timed(&rig, MANIFEST).await;
    assert!(status == 503 && took >= LIMITS.small, "{status} {took:?}");
    assert_eq!(slow.seen().len(), 2);
    // It kept none of its own deadlines: what it says of its health is not enough.
    let known = rig.routings.current().members("m")[0].clone();
    assert!(rig.forwarder.is_alive(&known).await && !known.may_be_asked());
}

#[tokio::test]
async fn n6_an_error_that_is_the_members_own_moves_on_and_the_upstreams_does_not() {
    let upstream = "HTTP/1.1 503 X\r\ncontent-length: 0\r\nretry-after: 9\r\n\r\n";
    let crowded =
        "HTTP/1.1 503 X\r\ncontent-length: 0\r\nproxy-status: tidepool; error=connection_limit_reached\r\n\r\n";
    let broken = "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n";
    let missing = "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n";
    for (reply, status, others) in [(upstream, 503, 0), (missing, 404, 0), (crowded, 200, 1), (broken, 200, 1)] {
        let (home, other) = (Fake::answering(reply).await, Fake::answering(OK).await);
        let rig = Rig::start(&home_first(home.address, other.address, KEY));
        assert_eq!((rig.get(MANIFEST).await.status(), other.seen().len()), (status, others), "{reply}");
        let known = rig.routings.current().members("m").to_vec();
        assert!(known.iter().all(|member| member.may_be_asked()), "it is alive: {reply}");
    }
}

#[tokio::test]
async fn n6_a_manifest_that_breaks_on_its_way_is_asked_for_again_and_the_runtime_sees_nothing_of_it() {
    let cut = OK.replace("content-length: 2", "content-length: 9");
    for stall in [false, true] {
        let (cut, whole) = (cut.clone(), OK.to_owned());
        let member = member(move |n| match (n, stall) {
            (0, true) => Act::Stall(cut.clone()),
            (0, false) => Act::Write(cut.clone()),
            _ => Act::Write(whole.clone()),
        })
        .await;
        let rig = Rig::start(&[member.address]);
        let reply = rig.get(MANIFEST).await;
        assert_eq!((reply.status(), reply.body.as_str(), member.seen().len()), (200, "{}", 2));
    }
    let (always, other) = (member(move |_| Act::Write(cut.clone())).await, Fake::answering(OK).await);
    let rig = Rig::start(&home_first(always.address, other.address, KEY));
    assert_eq!(rig.get(MANIFEST).await.body, "{}");
    let alone = Rig::start(&[always.address]);
    assert_eq!(alone.get(MANIFEST).await.status(), 503);
    let asked = always.seen().len();
    assert_eq!((alone.get(MANIFEST).await.status(), always.seen().len()), (503, asked), "the next pull pays again");
}

#[tokio::test]
async fn n6_a_list_that_is_cut_never_looks_complete() {
    let list = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n{\"tags\r\n";
    let open_ended = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"tags";
    let path = "/v2/library/a/tags/list?ns=docker.io";
    let (cut, endless) = (Fake::answering(list).await, Fake::answering(open_ended).await);
    let reply = Rig::start(&[cut.address]).get(path).await;
    assert!(reply.status() == 200 && !reply.body.ends_with("0\r\n\r\n") && !reply.reset, "{}", reply.body);
    assert_eq!(Rig::start(&[endless.address]).get(path).await.status(), 503);
}

#[tokio::test]
async fn n6_a_path_that_names_the_registry_reaches_the_member_as_it_is() {
    let member = Fake::answering(OK).await;
    let rig = Rig::start(&[member.address]);
    let podman = "user-agent: containers/5.34 (github.com/containers/image)\r\n";
    let reply = rig.ask("GET", "/v2/docker.io/library/a/manifests/1", podman).await;
    assert_eq!(reply.status(), 200);
    assert!(member.seen()[0].starts_with("GET /v2/docker.io/library/a/manifests/1 HTTP/1.1"), "{:?}", member.seen());
    assert!(rig.honored.get());
}
