//! An idle installation writes nothing to the API server but leases, pulls or no pulls.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidepool_tests::{AuditEvent, Cluster, ImageSpec};

use crate::installed::{apply_and_await, cluster, install_with, mirror};

/// How often the operator looks at everything: what a look would write shows in the quiet time, several times over.
const RESYNC: &str = "30s";
/// Reports with jitter and the first polls are over by then.
const SETTLED: Duration = Duration::from_secs(130);

/// How long it must be quiet: 2 minutes, or `$TIDEPOOL_IDLE_MINUTES`.
fn quiet_for() -> Duration {
    let minutes = std::env::var("TIDEPOOL_IDLE_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    Duration::from_secs(60 * minutes)
}

/// Pulls different images on both nodes until `end`.
fn pull_until(cluster: &Cluster, end: Instant) -> anyhow::Result<usize> {
    let mut pulls = 0;
    while Instant::now() < end {
        for node in [1, 2] {
            cluster.pull(node, "docker.io/library/app:1")?;
            cluster.remove_image(node, "docker.io/library/app:1")?;
            pulls += 1;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(pulls)
}

/// How often each thing was asked, for people to read.
fn counts<'a>(events: impl Iterator<Item = &'a AuditEvent>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let who = event.user.rsplit(':').next().unwrap_or_default();
        *counts
            .entry(format!("{who} {} {}/{} {}", event.verb, event.resource, event.subresource, event.name))
            .or_default() += 1;
    }
    counts
}

#[test]
fn an_idle_installation_writes_leases_alone_under_pulls() {
    let Some(cluster) = cluster(2) else { return };
    install_with(&cluster, &["--set", &format!("operator.resync={RESYNC}")]);
    apply_and_await(&cluster, &mirror(&serde_json::json!({"type": "Volume", "volume": {"size": "5Gi"}})));
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1").layers(&[4])).unwrap();
    pull_until(&cluster, Instant::now() + SETTLED.min(quiet_for().max(Duration::from_secs(60)))).unwrap();
    let (pulls, events) = cluster.audit_during(|| pull_until(&cluster, Instant::now() + quiet_for())).unwrap();
    let ours = || events.iter().filter(|event| event.is_ours());
    let leases = ours().filter(|event| event.is_write() && event.is_lease()).count();
    println!(
        "{pulls} pulls in {:?}: {leases} writes of the lease, others {:#?}",
        quiet_for(),
        counts(ours().filter(|e| !e.is_lease()))
    );
    let written = counts(ours().filter(|event| event.is_write() && !event.is_lease()));
    assert!(written.is_empty(), "written while idle: {written:#?}");
    assert!(pulls >= 20, "{pulls} pulls only");
    assert!(leases > 0, "somebody leads");
}
