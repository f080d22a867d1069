//! Tests of bodies that break on their way, and of stopping while they flow.

use std::sync::atomic::Ordering;

use super::*;

/// A member that serves `blob` by ranges, and breaks after `cut` bytes of its first `breaks` replies.
async fn breaking(blob: &'static str, cut: usize, breaks: usize, stall: bool) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(move |head| {
        if head.starts_with("GET /v2/ ") {
            return Act::Write(OK.to_owned());
        }
        let range = head.to_lowercase();
        let range = range.lines().find_map(|line| line.strip_prefix("range: bytes=").map(str::to_owned));
        let bounds = range.as_deref().and_then(|range| range.split_once('-'));
        let first: usize = bounds.map_or(0, |(first, _)| first.parse().unwrap());
        let last: usize = bounds.and_then(|(_, last)| last.parse().ok()).unwrap_or(blob.len() - 1);
        let body = &blob[first..=last];
        let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\n\r\n",
            body.len(),
            blob.len()
        );
        if count.fetch_add(1, Ordering::SeqCst) < breaks {
            let text = format!("{head}{}", &body[..cut]);
            return if stall { Act::Stall(text) } else { Act::Write(text) };
        }
        Act::Write(format!("{head}{body}"))
    })
    .await
}

const BLOB: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn a_body_that_breaks_goes_on_with_another_member_where_it_stopped() {
    let (broken, whole) = (breaking(BLOB, 10, 9, false).await, breaking(BLOB, 0, 0, false).await);
    let rig = Rig::start(&home_first(broken.address, whole.address, &digest()));
    let reply = rig.get(&blob_path()).await;
    assert_eq!((reply.status(), reply.body.as_str(), reply.reset), (200, BLOB, false));
    assert!(whole.seen()[0].to_lowercase().contains("range: bytes=10-35"), "{:?}", whole.seen());
}

/// What of a body a dead member sends before it falls silent, whatever it is asked.
async fn dying(blob: &'static str, cut: usize) -> Fake {
    Fake::start(move |head| {
        if head.starts_with("GET /v2/ ") {
            return Act::Stall(String::new());
        }
        Act::Stall(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", blob.len(), &blob[..cut]))
    })
    .await
}

/// How long it takes to find that a member is dead, and what a busy machine may add, so that it is still no third
/// silence.
const DETECTION: Duration = LIMITS.silence.saturating_mul(2);
const SLACK: Duration = LIMITS.silence.saturating_sub(Duration::from_millis(50));

#[tokio::test]
async fn n6_a_body_whose_member_dies_goes_on_at_another() {
    let (dead, whole) = (dying(BLOB, 10).await, breaking(BLOB, 0, 0, false).await);
    let rig = Rig::start(&home_first(dead.address, whole.address, &digest()));
    let began = Instant::now();
    let reply = rig.get(&blob_path()).await;
    assert_eq!((reply.status(), reply.body.as_str(), reply.reset), (200, BLOB, false));
    assert!(began.elapsed() >= LIMITS.silence && began.elapsed() < DETECTION + SLACK, "{:?}", began.elapsed());
    assert!(whole.seen()[0].to_lowercase().contains("range: bytes=10-35"), "{:?}", whole.seen());
    assert_eq!(dead.seen().len(), 1, "a dead member is not asked for the rest");
}

#[tokio::test]
async fn n6_a_body_whose_last_member_dies_ends_with_fin_after_exactly_what_came() {
    let dead = dying(BLOB, 10).await;
    let rig = Rig::start(&[dead.address]);
    let began = Instant::now();
    let reply = rig.get(&blob_path()).await;
    assert_eq!((reply.body.as_str(), reply.reset), (&BLOB[..10], false));
    assert!(reply.head.contains("content-length: 36"), "{}", reply.head);
    assert!(began.elapsed() < DETECTION + SLACK, "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(rig.get(&blob_path()).await.status(), 503);
    assert!(began.elapsed() < LIMITS.silence, "the runtime's own resume waits {:?}", began.elapsed());
}

#[tokio::test]
async fn n6_a_body_that_stalls_at_a_live_member_goes_on_there_by_another_connection() {
    let (stalling, other) = (breaking(BLOB, 3, 1, true).await, breaking(BLOB, 0, 0, false).await);
    let rig = Rig::start(&home_first(stalling.address, other.address, &digest()));
    let began = Instant::now();
    let reply = rig.ask("GET", &blob_path(), "range: bytes=10-19\r\n").await;
    assert_eq!((reply.status(), reply.body.as_str()), (206, "abcdefghij"));
    assert!(began.elapsed() < DETECTION, "{:?}", began.elapsed());
    assert!(stalling.seen()[1].to_lowercase().contains("range: bytes=13-19"), "{:?}", stalling.seen());
    assert_eq!(other.seen().len(), 0, "another member would fetch it from the upstream once more");
    assert!(rig.metrics().contains("resumes_total{result=\"hedged\"} 1"), "{}", rig.metrics());
}

#[tokio::test]
async fn n6_of_two_connections_the_one_that_delivers_goes_on_and_no_third_is_opened() {
    let told = Arc::new(tokio::sync::Notify::new());
    let (waits, count) = (Arc::clone(&told), AtomicUsize::new(0));
    let member = Fake::start(move |head| {
        let (head, first) = (
            head.starts_with("GET /v2/ "),
            count.fetch_add(usize::from(!head.starts_with("GET /v2/ ")), Ordering::SeqCst) == 0,
        );
        match (head, first) {
            (true, _) => Act::Write(OK.to_owned()),
            (_, true) => {
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 36\r\n\r\n{}", &BLOB[..10]);
                Act::Wait(text, Arc::clone(&waits), BLOB[10..].to_owned())
            }
            // It waits for the same upstream.
            _ => Act::Stall(
                "HTTP/1.1 206 Partial Content\r\ncontent-length: 26\r\ncontent-range: bytes 10-35/36\r\n\r\n"
                    .to_owned(),
            ),
        }
    })
    .await;
    let rig = Rig::start(&[member.address]);
    let path = blob_path();
    let upstream = async {
        tokio::time::sleep(LIMITS.silence * 5).await;
        told.notify_one();
    };
    let (reply, ()) = tokio::join!(rig.get(&path), upstream);
    assert_eq!((reply.status(), reply.body.as_str()), (200, BLOB));
    assert_eq!(member.seen().len(), 2, "{:?}", member.seen());
}

#[tokio::test]
async fn n6_a_body_that_nobody_moves_ends_with_fin_within_the_bound() {
    let member = breaking(BLOB, 0, 99, true).await;
    let rig = Rig::start(&[member.address]);
    let began = Instant::now();
    let reply = rig.get(&blob_path()).await;
    assert_eq!((reply.status(), reply.body.as_str(), reply.reset), (200, "", false));
    let took = began.elapsed();
    assert!(took >= LIMITS.stands_still() && took < LIMITS.idle + SLACK, "{took:?}");
    assert_eq!(rig.get(&blob_path()).await.status(), 503, "the runtime's next try ends at the same member");
}

#[tokio::test]
async fn n6_a_body_that_stands_still_for_longer_than_an_upstream_may_goes_on_at_another_member() {
    let (hangs, whole) = (breaking(BLOB, 0, 99, true).await, breaking(BLOB, 0, 0, false).await);
    let rig = Rig::start(&home_first(hangs.address, whole.address, &digest()));
    let reply = rig.get(&blob_path()).await;
    assert_eq!((reply.body.as_str(), reply.reset), (BLOB, false));
}

#[tokio::test]
async fn an_only_member_that_breaks_once_is_asked_again() {
    let member = breaking(BLOB, 20, 1, false).await;
    let rig = Rig::start(&[member.address]);
    assert_eq!(rig.get(&blob_path()).await.body, BLOB);
}

#[tokio::test]
async fn a_body_that_cannot_go_on_ends_short_of_its_length_and_without_a_reset() {
    let member = breaking(BLOB, 5, 99, false).await;
    let rig = Rig::start(&[member.address]);
    let reply = rig.get(&blob_path()).await;
    assert!(reply.head.contains("content-length: 36"), "{}", reply.head);
    // Once, and four times more.
    assert_eq!((reply.body.as_str(), reply.reset), (&BLOB[..25], false));
}

#[tokio::test]
async fn a_member_that_answers_a_resume_with_other_bytes_is_not_believed() {
    let whole = format!("200 OK\r\ncontent-length: 36\r\n\r\n{BLOB}");
    let shifted =
        format!("206 Partial Content\r\ncontent-length: 26\r\ncontent-range: bytes 9-34/36\r\n\r\n{}", &BLOB[9..35]);
    let longer =
        format!("206 Partial Content\r\ncontent-length: 26\r\ncontent-range: bytes 10-35/37\r\n\r\n{}", &BLOB[9..35]);
    for wrong in [whole, shifted, longer] {
        let broken = breaking(BLOB, 10, 1, false).await;
        let other = Fake::answering(format!("HTTP/1.1 {wrong}")).await;
        let rig = Rig::start(&home_first(broken.address, other.address, &digest()));
        assert_eq!(rig.get(&blob_path()).await.body, BLOB, "{wrong}");
        assert_eq!((broken.seen().len(), other.seen().len()), (2, 1));
    }
}

/// A runtime that asks for a manifest, takes the head of the reply, and nothing more.
async fn stuck(rig: &Rig) -> TcpStream {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(format!("GET {MANIFEST} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn n6_large_manifests_that_runtimes_do_not_take_leave_room_for_small_ones_and_the_next_goes_upstream() {
    let length = 8 << 20;
    let large = format!("{}{}", OK.replace("-length: 2\r", &format!("-length: {length}\r")), "x".repeat(length - 2));
    let member = Fake::start(move |head| {
        let is_large = head.starts_with("GET /v2/library/a/");
        Act::Write(if is_large { large.clone() } else { OK.to_owned() })
    })
    .await;
    let rig = Rig::start(&[member.address]);
    let (one, _two) = (stuck(&rig).await, stuck(&rig).await);
    let began = Instant::now();
    let (crowded, small) = tokio::join!(rig.get(MANIFEST), rig.get("/v2/library/b/manifests/1?ns=docker.io"));
    assert_eq!((crowded.status(), small.status()), (503, 200));
    assert!(began.elapsed() < Duration::from_millis(2800), "{:?}", began.elapsed());
    drop(one);
    let reply = rig.get(MANIFEST).await;
    assert_eq!((reply.status(), reply.body.len(), reply.reset), (200, length, false), "the member is not to blame");
}

#[tokio::test]
async fn on_stop_the_port_is_free_at_once_and_streams_under_way_end_well() {
    let member = breaking(BLOB, 3, 1, true).await;
    let rig = Rig::start(&[member.address]);
    let address = rig.address;
    let under_way = async {
        let reply = rig.get(&blob_path()).await;
        assert_eq!(reply.body, BLOB);
        Instant::now()
    };
    let stop = async {
        while member.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.stop.cancel();
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server::bind(address).unwrap();
        Instant::now()
    };
    let (ended, free) = tokio::join!(under_way, stop);
    assert!(free < ended, "still listening when the last stream had ended");
    tokio::time::timeout(Duration::from_secs(20), rig.served).await.unwrap().unwrap();
}
