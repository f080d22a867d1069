//! Authorities and certificates that are renewed while nodes pull.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidepool_tests::{Cluster, ImageSpec, Request};

use crate::installed::{
    AGENTS, MIRROR, SYSTEM, apply_and_await, await_active, cluster, ephemeral, install_with, members, pull,
};

/// How long a whole rotation may take: two authorities' lives and some.
const ROTATION: Duration = Duration::from_secs(330);
/// How many pulls there are when it is over.
const AFTER: usize = 10;

/// The certificates under a key of a Secret, each as its PEM text.
fn certificates(cluster: &Cluster, namespace: &str, secret: &str, key: &str) -> anyhow::Result<BTreeSet<String>> {
    let template = format!(r#"go-template={{{{index .data "{key}" | base64decode}}}}"#);
    let text = cluster.kubectl(&["get", "secret", secret, "-n", namespace, "-o", &template])?;
    let begin = "-----BEGIN CERTIFICATE-----";
    Ok(text.split(begin).skip(1).map(|text| text.trim().to_owned()).collect())
}

/// The authorities that agents believe.
fn authorities(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    certificates(cluster, AGENTS, "tidepool-agent-identity", "ca.crt")
}

/// Whether agents and members believe the next authority while the one before it still signs.
fn is_announced(cluster: &Cluster) -> anyhow::Result<bool> {
    let agents = authorities(cluster)?;
    let members = certificates(cluster, SYSTEM, &format!("mirror-{MIRROR}-config"), "agents-ca.crt")?;
    // Asked last: what signs now has signed all the while.
    let next = certificates(cluster, SYSTEM, "tidepool-authority", "next.crt")?;
    Ok(!next.is_empty() && next.is_subset(&agents) && next.is_subset(&members))
}

/// Pulls through the mirror, without a pause, until told to stop, and counts; any failure is the result.
fn pull_until(cluster: &Cluster, image: &str, stop: &AtomicBool, pulls: &AtomicUsize) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        cluster.pull(1, image)?;
        cluster.remove_image(1, image)?;
        pulls.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

#[test]
fn authorities_and_certificates_are_renewed_under_pulls_that_all_go_through_the_mirror() {
    let Some(cluster) = cluster(1) else { return };
    let lifetimes = "trust.authorityLifetime=150s,trust.certificateLifetime=50s";
    install_with(&cluster, &["--set", lifetimes]);
    apply_and_await(&cluster, &ephemeral());
    let hub = cluster.registry("docker.io").unwrap();
    hub.push(&ImageSpec::new("library/app", "1").layers(&[4])).unwrap();
    pull(&cluster, 1, "app:1");
    cluster.remove_image(1, "docker.io/library/app:1").unwrap();
    let (pods, first) = (members(&cluster, MIRROR), authorities(&cluster).unwrap());
    assert_eq!(first.len(), 1, "one authority at the start");

    let (stop, pulls, started) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    let ((pulled, rotated), log) = hub
        .requests_during(|| {
            Ok(std::thread::scope(|scope| {
                let looping = scope.spawn(|| pull_until(&cluster, "docker.io/library/app:1", &stop, &pulls));
                // Else who is slow to learn of it would refuse the first that shows a certificate of it.
                let announced = || is_announced(&cluster);
                let announced = cluster.wait_until(ROTATION, "authority that all believe before it signs", announced);
                let gone = || Ok(authorities(&cluster)?.is_disjoint(&first));
                let rotated =
                    announced.and_then(|()| cluster.wait_until(ROTATION, "authorities after the first", gone));
                // With none but the new one believed, pulls must still go through.
                let before = pulls.load(Ordering::Relaxed);
                let more = || Ok(pulls.load(Ordering::Relaxed) >= before + AFTER || looping.is_finished());
                let rotated = rotated.and_then(|()| cluster.wait_until(ROTATION, "pulls after it", more));
                stop.store(true, Ordering::Relaxed);
                (looping.join().expect("the loop does not panic"), rotated)
            }))
        })
        .unwrap();
    rotated.unwrap();
    pulled.unwrap_or_else(|error| panic!("a pull failed: {error:#}\n{}", cluster.diagnose()));
    let pulls = pulls.into_inner();
    let around: Vec<&Request> = log.iter().filter(|request| !request.user_agent.starts_with("tidepool")).collect();
    println!("{pulls} pulls during a rotation of {:?}, {} requests around the mirror", started.elapsed(), around.len());
    assert!(pulls >= 2 * AFTER, "{pulls} pulls only");
    assert!(around.is_empty(), "{} requests went around the mirror: {around:#?}", around.len());
    assert_eq!(members(&cluster, MIRROR), pods, "no member was restarted for it");
    await_active(&cluster);
}
