//! An idle installation writes nothing to the API server but leases, pulls or no pulls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidepool_tests::{AuditEvent, Cluster, ImageSpec, until};

use crate::installed::{SOON, apply_and_await, cluster, install_with, mirror};
use crate::quiet::{await_proven, await_quiet};

/// How often the operator looks at everything: what a look would write shows in the quiet time, several times over.
const RESYNC: &str = "30s";
/// How many pulls there are in that time at least.
const PULLS: usize = 20;

/// How long it must be quiet: 2 minutes, or `$TIDEPOOL_IDLE_MINUTES`.
fn quiet_for() -> Duration {
    let minutes = std::env::var("TIDEPOOL_IDLE_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    Duration::from_secs(60 * minutes)
}

/// Pulls on both nodes, over and over, as long as something else goes on.
struct Pulls {
    made: AtomicUsize,
    stop: AtomicBool,
}

impl Pulls {
    fn while_they_go_on<T>(cluster: &Cluster, act: impl FnOnce(&Self) -> T) -> anyhow::Result<T> {
        let pulls = Self { made: AtomicUsize::new(0), stop: AtomicBool::new(false) };
        std::thread::scope(|scope| {
            let pulling = scope.spawn(|| pulls.make(cluster));
            // Also when `act` panics, or the scope would wait for ever.
            let stop = Stop(&pulls.stop);
            let result = act(&pulls);
            drop(stop);
            pulling.join().expect("pulling does not panic").map(|()| result)
        })
    }

    fn make(&self, cluster: &Cluster) -> anyhow::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            for node in [1, 2] {
                cluster.pull(node, "docker.io/library/app:1")?;
                cluster.remove_image(node, "docker.io/library/app:1")?;
                self.made.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
    let (pulls, events) = Pulls::while_they_go_on(&cluster, |pulls| {
        await_proven(&cluster);
        await_quiet(&cluster);
        let (before, began) = (pulls.made(), Instant::now());
        let over = || Ok(began.elapsed() >= quiet_for() && pulls.made() >= before + PULLS);
        let idle = cluster.audit_during(|| until(quiet_for() + SOON, Duration::from_secs(1), "twenty pulls", over));
        (pulls.made() - before, idle.unwrap().1)
    })
    .unwrap();
    let ours = || events.iter().filter(|event| event.is_ours());
    let leases = ours().filter(|event| event.is_write() && event.is_lease()).count();
    println!(
        "{pulls} pulls in {:?}: {leases} writes of the lease, others {:#?}",
        quiet_for(),
        counts(ours().filter(|e| !e.is_lease()))
    );
    let written = counts(ours().filter(|event| event.is_write() && !event.is_lease()));
    assert!(written.is_empty(), "written while idle: {written:#?}");
    assert!(leases > 0, "somebody leads");
}
