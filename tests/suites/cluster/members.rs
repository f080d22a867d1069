//! Several members with volumes as one mirror: what each holds adds up, and none of them is missed.
//!
//! Node 2 is cut off from the registry for most of it: what it pulls, members have given it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ClusterOptions, Disturbance, Image, ImageSpec, NodeOptions, Rate, StandIn};

use crate::installed::{
    MIRROR, Member, SOON, SYSTEM, apply_and_await, await_condition, await_revision, condition, installed_by, login,
    members, mirror_of, pull,
};
use crate::member_state::{
    assert_had_once, assert_only_members, await_answering, await_fill, await_members, await_shares, blobs, cut_off,
    fewest_ready, kept, kill, node_of, resumed,
};
use crate::pull_loop::{PullLoop, while_pulling};

const APP: &str = "docker.io/library/app:1";
const BIG: &str = "docker.io/library/big:1";
/// MiB of the one layer of that; four seconds on the nodes' links, and most of a minute where a member is to be killed while
/// it is on its way: who is to be killed must be found first, by a machine that may have much else to do.
const BIG_MIB: u32 = 96;
const LINK_MIB: u64 = 24;
const SLOW_MIB: u64 = 2;
/// What each member's volume has at first, and nine tenths of it for images.
const SMALL: &str = "48Mi";
const ROOM: usize = (48 << 20) / 10 * 9;

/// Two nodes on links that a large layer takes seconds to cross.
fn options() -> ClusterOptions {
    let rate = Rate::mib_per_second(LINK_MIB);
    let node = || NodeOptions { rate: Some(rate), ..NodeOptions::default() };
    let hub = StandIn::docker_hub().user("payer", "paid").private("secret/");
    let private = StandIn::with_realm("private.test", "login.test").user("me", "right").private("team/");
    let node_options = BTreeMap::from([(1, node()), (2, node())]);
    ClusterOptions { nodes: 2, stand_ins: vec![hub, private], node_options, ..ClusterOptions::default() }
}

fn mirror(replicas: usize, size: &str, annotation: &str) -> Value {
    let mut mirror = mirror_of(MIRROR, &["docker.io", "private.test"]);
    let credentials = |secret: &str, scope: &str| json!({"secretRef": {"name": secret}, "scope": scope});
    mirror["spec"]["upstreams"][0]["credentials"] = credentials("hub-login", "PublicImages");
    mirror["spec"]["upstreams"][1]["credentials"] = credentials("private-login", "AllImages");
    mirror["spec"]["storage"] = json!({"type": "Volume", "volume": {"size": size}});
    mirror["spec"]["proxy"] = json!({"replicas": replicas, "podAnnotations": {"round": annotation}});
    mirror
}

#[test]
fn members_with_volumes_are_one_mirror_and_none_is_missed_while_it_is_away() {
    let Some(cluster) = installed_by(options()) else { return };
    for secret in [login("hub-login", "payer", "paid"), login("private-login", "me", "right")] {
        cluster.apply(&secret.to_string()).unwrap();
    }
    apply_and_await(&cluster, &mirror(2, SMALL, "1"));
    await_members(&cluster, 2, None);
    let nodes: BTreeSet<_> = members(&cluster, MIRROR).iter().map(|member| node_of(&cluster, member)).collect();
    assert_eq!(nodes.len(), 2, "members are on different nodes");

    let shared = Shared(&cluster);
    shared.each_blob_comes_once_and_more_is_kept_than_one_has_room_for();
    shared.private_content_is_its_repositorys_wherever_its_parts_are();
    shared.all_claims_grow_without_a_restart();
    cut_off(&cluster, 2, "registry-1.docker.io");
    let (home, layer) = shared.a_member_is_killed_while_it_fetches();
    shared.a_member_is_killed_while_it_serves(home, &layer);

    shared.push("library/app", &[32, 8]);
    let ((), seen) = while_pulling(&cluster, 2, APP, |pulls| {
        pulls.step("all start", || pull(&cluster, 1, APP));
        shared.members_go_and_come_back_with_what_they_hold(pulls);
        shared.members_roll_one_at_a_time(pulls);
        pulls.step("two of three are taken away", || shared.scale(1, "2"));
    });
    println!("{} pulls by members alone, the longest {:.1?}", seen.pulls, seen.longest);
}

struct Shared<'a>(&'a Cluster);

impl Shared<'_> {
    fn push(&self, repository: &str, layers: &[u32]) -> Image {
        self.0.registry("docker.io").unwrap().push(&ImageSpec::new(repository, "1").layers(layers)).unwrap()
    }

    fn slow_links(&self) -> Disturbance<'_> {
        let slow = |node| {
            let (rate, before) = (Rate::mib_per_second(SLOW_MIB), Rate::mib_per_second(LINK_MIB));
            self.0.slow_link(node, rate, before).unwrap()
        };
        slow(1).and(slow(2))
    }

    fn scale(&self, replicas: usize, round: &str) {
        self.0.apply(&mirror(replicas, "2Gi", round).to_string()).unwrap();
        await_members(self.0, replicas, Some(("round", round)));
    }

    fn member(&self, number: usize) -> Member {
        let prefix = format!("mirror-{MIRROR}-{number}-");
        let found = members(self.0, MIRROR).into_iter().find(|member| member.name.starts_with(&prefix));
        found.unwrap_or_else(|| panic!("no member {number}"))
    }

    fn each_blob_comes_once_and_more_is_kept_than_one_has_room_for(&self) {
        let (cluster, hub) = (self.0, self.0.registry("docker.io").unwrap());
        let names: Vec<_> = (0..4).map(|number| format!("library/part{number}")).collect();
        let images: Vec<_> = names.iter().map(|name| self.push(name, &[2; 8])).collect();
        let pull_all = |node| names.iter().for_each(|name| pull(cluster, node, &format!("docker.io/{name}:1")));
        let both = || {
            std::thread::scope(|scope| drop((scope.spawn(|| pull_all(1)), scope.spawn(|| pull_all(2)))));
            Ok(())
        };
        let ((), log) = hub.requests_during(both).unwrap();
        assert_only_members(&log);
        let all: BTreeSet<_> = images.iter().flat_map(blobs).map(str::to_owned).collect();
        images.iter().for_each(|image| assert_had_once(&log, image));
        let shares = await_shares(cluster, &all);
        assert!(shares.iter().all(|share| *share > 0), "each has some: {shares:?}");
        let layers = images.iter().flat_map(|image| &image.layers);
        let bytes: usize = layers.map(|layer| usize::try_from(layer.size).unwrap()).sum();
        assert!(bytes > ROOM + ROOM / 4, "{bytes} bytes fit in one member");

        hub.off().unwrap();
        for name in &names {
            cluster.remove_image(1, &format!("docker.io/{name}:1")).unwrap();
        }
        pull_all(1);
        hub.on().unwrap();
    }

    /// The home of a blob knows nothing of the manifest that leads to it, nor of what was asked of another member.
    fn private_content_is_its_repositorys_wherever_its_parts_are(&self) {
        let (cluster, private) = (self.0, self.0.registry("private.test").unwrap());
        let image = private.push(&ImageSpec::new("team/app", "1").layers(&[1; 8])).unwrap();
        let ((), log) = private
            .requests_during(|| {
                [1, 2].iter().for_each(|node| pull(cluster, *node, "private.test/team/app:1"));
                Ok(())
            })
            .unwrap();
        assert_only_members(&log);
        for number in [0, 1] {
            let held = kept(cluster, &self.member(number));
            assert!(blobs(&image).iter().any(|digest| held.contains(*digest)), "member {number} has a part");
        }
        private.off().unwrap();
        cluster.remove_image(1, "private.test/team/app:1").unwrap();
        pull(cluster, 1, "private.test/team/app:1");
        private.on().unwrap();

        let hub = cluster.registry("docker.io").unwrap();
        self.push("secret/app", &[1; 4]);
        let (refused, log) = hub.requests_during(|| cluster.try_pull(1, "docker.io/secret/app:1")).unwrap();
        assert!(!refused.success, "PublicImages serves no private image: {refused:?}");
        assert!(!log.iter().any(|request| request.is_blob() && request.served()), "nor fetches it: {log:#?}");
    }

    fn all_claims_grow_without_a_restart(&self) {
        let (cluster, before) = (self.0, members(self.0, MIRROR));
        cluster.apply(&mirror(2, "2Gi", "1").to_string()).unwrap();
        let grown = || {
            let label = format!("tidepool.dev/mirror={MIRROR}");
            let claims = cluster.kubectl_json(&["get", "persistentvolumeclaims", "-n", SYSTEM, "-l", &label])?;
            let claims = claims["items"].as_array().cloned().unwrap_or_default();
            Ok(claims.len() == 2 && claims.iter().all(|it| it["spec"]["resources"]["requests"]["storage"] == "2Gi"))
        };
        cluster.wait_until(SOON, "claims of both members that ask for more", grown).unwrap();
        cluster.resize_claims(SYSTEM).unwrap();
        await_condition(cluster, "StorageReady", "True", "Bound");
        await_revision(cluster);
        assert_eq!(members(cluster, MIRROR), before, "no restart for volumes that grew");
    }

    /// Returns the number of the member, which is home to the layer, and that.
    fn a_member_is_killed_while_it_fetches(&self) -> (usize, String) {
        let (cluster, image) = (self.0, self.push("library/big", &[BIG_MIB]));
        let layer = &image.layers[1].digest;
        let (before, slow) = (resumed(cluster, 2), self.slow_links());
        let (home, pulled) = std::thread::scope(|scope| {
            let pulling = scope.spawn(|| cluster.pull(2, BIG));
            let home = await_fill(cluster, layer);
            await_answering(cluster, &home);
            kill(cluster, &home);
            slow.heal().unwrap();
            (home, pulling.join().expect("the pull does not panic"))
        });
        pulled.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.diagnose()));
        assert!(resumed(cluster, 2) > before, "the body was on its way and went on with the other member");
        await_members(cluster, 2, None);
        cluster.remove_image(2, BIG).unwrap();
        (usize::from(home.name == self.member(1).name), layer.clone())
    }

    fn a_member_is_killed_while_it_serves(&self, home: usize, layer: &str) {
        let (cluster, hub, home) = (self.0, self.0.registry("docker.io").unwrap(), self.member(home));
        // So far the other member has it, which took over.
        pull(cluster, 1, BIG);
        cluster.remove_image(1, BIG).unwrap();
        let is_home = || Ok(kept(cluster, &home).contains(layer));
        cluster.wait_until(SOON, &format!("layer in {}, which is home to it", home.name), is_home).unwrap();
        let puller = 3 - node_of(cluster, &home);
        let (before, slow) = (resumed(cluster, puller), self.slow_links());
        let (pulled, log) = hub
            .requests_during(|| {
                Ok(std::thread::scope(|scope| {
                    let pulling = scope.spawn(|| cluster.pull(puller, BIG));
                    await_answering(cluster, &home);
                    kill(cluster, &home);
                    slow.heal().unwrap();
                    pulling.join().expect("the pull does not panic")
                }))
            })
            .unwrap();
        pulled.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.diagnose()));
        assert!(resumed(cluster, puller) > before, "the body was on its way and went on with the other member");
        assert_only_members(&log);
        await_members(cluster, 2, None);
    }

    fn members_go_and_come_back_with_what_they_hold(&self, pulls: &PullLoop<'_>) {
        let cluster = self.0;
        let claim =
            || cluster.kubectl_json(&["get", "persistentvolumeclaim", &format!("mirror-{MIRROR}-1"), "-n", SYSTEM]);
        let (first, held) = (self.member(0), kept(cluster, &self.member(1)));
        let uid = claim().unwrap()["metadata"]["uid"].clone();
        pulls.step("one of two is taken away", || self.scale(1, "1"));
        let kept_claim = format!("mirror-{MIRROR}-1");
        let named = || {
            let (status, reason, message) = condition(cluster, "StorageReady")?;
            Ok((status.as_str(), reason.as_str()) == ("True", "Bound") && message.contains(&kept_claim))
        };
        cluster.wait_until(SOON, "condition that names the claim that is kept", named).unwrap();
        let events = ["get", "events", "-A", "--field-selector", "reason=ClaimsKept"];
        let told = || Ok(cluster.kubectl(&events)?.contains(&kept_claim));
        cluster.wait_until(SOON, "Event that names it", told).unwrap();

        pulls.step("two join one", || self.scale(3, "1"));
        assert_eq!(self.member(0), first, "who was there is left alone");
        assert_eq!(claim().unwrap()["metadata"]["uid"], uid, "the claim is used again");
        let now = kept(cluster, &self.member(1));
        assert!(!held.is_empty() && held.is_subset(&now), "with what it held: {held:?} and now {now:?}");
        let status = cluster.kubectl_json(&["get", "registrymirror", MIRROR]).unwrap()["status"]["members"].clone();
        assert!(status["keptClaims"].is_null(), "{status}");
    }

    fn members_roll_one_at_a_time(&self, pulls: &PullLoop<'_>) {
        let before: BTreeSet<_> = members(self.0, MIRROR).into_iter().map(|member| member.uid).collect();
        let ((), fewest) = pulls.step("three roll", || fewest_ready(self.0, || self.scale(3, "2")));
        assert_eq!(fewest, 2, "one at a time");
        assert!(!members(self.0, MIRROR).iter().any(|member| before.contains(&member.uid)), "all of them");
    }
}
