//! Several members without volumes: what they keep goes with their pods, and no pull with it.

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec};

use crate::installed::{MIRROR, apply_and_await, ephemeral, installed, members, pull};
use crate::member_state::{
    assert_had_once, assert_only_members, await_members, await_shares, blobs, cut_off, fewest_ready,
};
use crate::pull_loop::while_pulling;

const APP: &str = "docker.io/library/app:1";

fn mirror(replicas: usize, round: &str) -> Value {
    let mut mirror = ephemeral();
    mirror["spec"]["proxy"] = json!({"replicas": replicas, "podAnnotations": {"round": round}});
    mirror
}

fn scale(cluster: &Cluster, replicas: usize, round: &str) {
    cluster.apply(&mirror(replicas, round).to_string()).unwrap();
    await_members(cluster, replicas, Some(("round", round)));
}

#[test]
fn members_without_volumes_share_what_they_fetch_and_are_replaced_without_a_gap() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &mirror(3, "1"));
    await_members(&cluster, 3, None);
    cut_off(&cluster, 2, "registry-1.docker.io");
    let hub = cluster.registry("docker.io").unwrap();
    let image = hub.push(&ImageSpec::new("library/app", "1").layers(&[8, 8, 4, 4, 2, 2, 1, 1])).unwrap();
    let both = || {
        std::thread::scope(|scope| {
            drop((scope.spawn(|| pull(&cluster, 1, APP)), scope.spawn(|| pull(&cluster, 2, APP))))
        });
        Ok(())
    };
    let ((), log) = hub.requests_during(both).unwrap();
    assert_only_members(&log);
    assert_had_once(&log, &image);
    let shares = await_shares(&cluster, &blobs(&image).into_iter().map(str::to_owned).collect());
    assert!(shares.iter().filter(|share| **share > 0).count() >= 2, "{shares:?}");

    cluster.remove_image(2, APP).unwrap();
    let ((), seen) = while_pulling(&cluster, 2, APP, |pulls| {
        let ((), fewest) = pulls.step("three roll", || fewest_ready(&cluster, || scale(&cluster, 3, "2")));
        assert_eq!(fewest, 3, "a further one is ready before one goes");
        pulls.step("two of three are taken away", || scale(&cluster, 1, "2"));
        let left = members(&cluster, MIRROR);
        pulls.step("one joins one", || scale(&cluster, 2, "2"));
        let now = members(&cluster, MIRROR);
        assert!(left.iter().all(|member| now.contains(member)), "who was there is left alone");
    });
    println!("{} pulls by members alone, the longest {:.1?}", seen.pulls, seen.longest);
}
