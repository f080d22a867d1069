//! When a tag that is kept needs its upstream, and how long that one is waited for.

use std::{future::pending, io, net::SocketAddr};

use prometheus_client::metrics::gauge::Gauge;
use tidepool_config::TimeSpan;
use tidepool_oci::Algorithm;

use super::*;
use crate::{
    hash::digest_of,
    metrics::Metrics,
    pull::Deadline,
    settings::Files,
    store::Store,
    tasks::Tasks,
    upstream::{Entry, Lookup, Upstream},
};

fn tags(after: u64, stale: Option<u64>) -> Tags {
    let span = |seconds| TimeSpan(Duration::from_secs(seconds));
    Tags { revalidate_after: span(after), serve_stale_for: stale.map(span), ..Tags::default() }
}

#[test]
fn p8_a_clock_that_went_back_makes_no_tag_fresh() {
    for (after, checked, now, expected) in
        [(0, 9, 9, false), (5, 9, 9, true), (5, 9, 13, true), (5, 9, 14, false), (5, 9, 8, false), (5, 9, 0, false)]
    {
        assert_eq!(is_believed(&tags(after, None), "1", checked, now), expected, "{after} {checked} {now}");
    }
}

#[test]
fn p8_a_tag_is_too_old_after_the_time_and_never_without_one() {
    for (stale, checked, now, expected) in [
        (None, 0, u64::MAX, false),
        (Some(5), 9, 13, false),
        (Some(5), 9, 14, true),
        (Some(5), 9, 8, false),
        (Some(0), 9, 9, true),
    ] {
        assert_eq!(is_too_old(&tags(0, stale), checked, now), expected, "{stale:?} {checked} {now}");
    }
}

#[test]
fn records_are_as_exact_as_what_they_decide() {
    for (after, stale, expected) in
        [(0, None, 60), (10, None, 10), (600, None, 60), (0, Some(30), 3), (0, Some(604_800), 60), (0, Some(5), 0)]
    {
        assert_eq!(record_every(&tags(after, stale)), expected, "{after} {stale:?}");
    }
}

/// A repository of a registry whose name server never answers.
fn silent(tasks: &Tasks) -> Source {
    tidepool_runtime::install_crypto();
    let config = tidepool_config::Upstream::plain("reg.test".parse().unwrap());
    let entry = Entry::read(&config, None, &Files::default()).unwrap();
    let lookup = Lookup::new(|_| pending::<io::Result<Vec<SocketAddr>>>());
    let upstream = Arc::new(Upstream::new(entry, Metrics::default(), tasks, &lookup).unwrap());
    Source { upstream, repository: "a/b".parse().unwrap(), trace: None }
}

/// Keeps a manifest with that tag.
async fn keep(store: &Arc<Store>, source: &Source, tag: &str) {
    let bytes = bytes::Bytes::from_static(b"{}");
    let digest = digest_of(Algorithm::Sha256, &bytes);
    let manifest = Manifest { digest: digest.clone(), media_type: "application/json".to_owned(), bytes };
    store.put_manifest(&Arc::new(manifest), None).await.unwrap();
    let record = TagRecord { digest, checked: seconds_now(), closed: false };
    store.put_tag(source.upstream.name(), &source.repository, tag, record).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p8_a_kept_tag_comes_within_two_seconds_from_a_silent_upstream_and_then_without_a_wait() {
    let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
    let store = Store::open(dir.path().into(), None, Gauge::default(), &tasks).await.unwrap();
    let (puller, source) = (Puller::new(Arc::clone(&store), Metrics::default(), tasks.clone()), silent(&tasks));
    keep(&store, &source, "1").await;
    let pull = async || {
        let begun = Instant::now();
        let permit = Permit { reader: Reader::Anybody, confirmed: true, deadline: Deadline::of_headers(begun) };
        let served = puller.tagged(&source, "1", &Method::GET, permit).await.unwrap();
        assert_eq!(served.how, RequestResult::Stale);
        begun.elapsed()
    };
    let first = pull().await;
    assert!(
        first >= Duration::from_secs(1) && first + Duration::from_millis(250) < Duration::from_secs(2),
        "{first:?}"
    );
    for _ in 0..8 {
        assert_eq!(pull().await, Duration::ZERO, "it is known to be silent");
    }
}
