//! Tests of the one file in registries.conf.d.

use super::*;
use crate::registries_conf::{PullFromMirror, Settings};

const SETTINGS: Settings = Settings { port: 909, pull_from_mirror: PullFromMirror::DigestOnly };
const OURS: &str = "50-tidepool.conf";

impl Node {
    fn drop_in(&self, place: &[&str], keep: &[&str]) -> Outcome {
        let main = self.temp.path().join("registries.conf");
        self.open().reconcile_drop_in(&set(place), &set(keep), &SETTINGS, &main)
    }

    fn mirrored(&self) -> BTreeSet<RegistryName> {
        present(&self.root(), &set(&["docker.io", "ghcr.io", "reg.example:5000"]))
    }
}

fn reasons(outcome: &Outcome) -> Vec<(&str, &'static str)> {
    let failed = outcome.placed.iter().filter_map(|(registry, placed)| Some((registry, placed.as_ref().err()?)));
    failed.map(|(registry, error)| (registry.as_str(), error.reason())).collect()
}

#[test]
fn n2_crio_has_one_file_for_all_registries_which_comes_and_goes_and_is_written_once() {
    let node = Node::new();
    node.put("000-shortnames.conf", "[aliases]\n\"alpine\" = \"docker.io/library/alpine\"\n");
    let before = node.tree();
    assert_eq!(node.drop_in(&["docker.io", "reg.example:5000"], &[]).written, 1);
    assert_eq!(node.tree().len(), before.len() + 1);
    assert_eq!(node.mirrored(), set(&["docker.io", "reg.example:5000"]));
    let is_there = node.tree();
    assert_eq!(node.drop_in(&["docker.io", "reg.example:5000"], &[]).written, 0);
    // Kept is what is there already; ghcr.io waits for its member.
    assert_eq!(node.drop_in(&[], &["docker.io", "reg.example:5000", "ghcr.io"]).written, 0);
    assert_eq!(node.tree(), is_there);
    assert_eq!(node.drop_in(&[], &["docker.io"]).written, 1);
    assert_eq!(node.mirrored(), set(&["docker.io"]));
    assert_eq!(node.drop_in(&[], &[]).withdrawn, 1);
    assert_eq!(node.tree(), before);
    node.drop_in(&["docker.io"], &[]);
    assert_eq!(node.open().withdraw_all().withdrawn, 1);
    assert_eq!(node.tree(), before);
}

#[test]
fn n2_crio_registries_that_another_file_speaks_of_are_left_to_it() {
    let node = Node::new();
    node.put("10-corp.conf", "[[registry]]\nprefix = \"ghcr.io\"\nblocked = true\n");
    fs::write(node.temp.path().join("registries.conf"), "[[registry]]\nlocation = \"reg.example:5000\"\n").unwrap();
    let outcome = node.drop_in(&["docker.io", "ghcr.io", "reg.example:5000"], &[]);
    let claimed = "RegistryConfiguredElsewhere";
    assert_eq!(reasons(&outcome), [("ghcr.io", claimed), ("reg.example:5000", claimed)]);
    let message = outcome.placed[&"ghcr.io".parse().unwrap()].as_ref().unwrap_err().message();
    assert!(message.contains("10-corp.conf") && message.contains("[[registry]]"), "{message}");
    assert_eq!(node.mirrored(), set(&["docker.io"]));
    // One that appears later is theirs from then on.
    node.put("60-later.conf", "[[registry]]\nprefix = \"docker.io\"\n");
    node.drop_in(&["docker.io"], &[]);
    assert!(!node.root().join(OURS).exists());
    node.put("60-later.conf", "[[registry");
    let outcome = node.drop_in(&["docker.io"], &[]);
    assert_eq!(reasons(&outcome), [("docker.io", "ForeignFileNotMergeable")], "the runtime does not start with it");
}

#[test]
fn n2_crio_an_edited_file_is_left_alone_and_loses_only_what_is_ours() {
    let node = Node::new();
    node.drop_in(&["docker.io"], &[]);
    let edited = node.text(OURS).replace("digest-only", "all") + "\n[[registry]]\nlocation = \"mine.example\"\n";
    node.put(OURS, &edited);
    let outcome = node.drop_in(&["docker.io", "ghcr.io"], &[]);
    assert_eq!(outcome.edited, set(&["docker.io"]));
    assert_eq!(reasons(&outcome), [("ghcr.io", "EditKept")]);
    assert_eq!(node.text(OURS), edited);
    node.open().withdraw_all();
    let left = node.text(OURS);
    assert!(left.contains("mine.example") && !left.contains("127.0.0.1") && !left.contains("docker.io"), "{left}");
}

#[test]
fn n4_crio_an_edited_file_loses_the_tables_of_registries_that_are_mirrored_no_more() {
    let node = Node::new();
    node.drop_in(&["docker.io", "ghcr.io", "quay.io"], &[]);
    let edited = node.text(OURS) + "\n[[registry]]\nlocation = \"mine.example\"\n";
    node.put(OURS, &edited);
    let outcome = node.drop_in(&["docker.io"], &["quay.io"]);
    assert_eq!((outcome.edited, outcome.withdrawn), (set(&["docker.io"]), 1));
    let text = node.text(OURS);
    assert_eq!(crate::registries_conf::mirrored(&text), set(&["docker.io", "quay.io"]));
    assert!(text.contains("mine.example") && !text.contains("ghcr.io"), "{text}");
    assert_eq!(node.drop_in(&["docker.io"], &["quay.io"]).withdrawn, 0);
    assert_eq!(node.text(OURS), text);
    node.open().withdraw_all();
    assert!(node.text(OURS).contains("mine.example") && !node.text(OURS).contains("127.0.0.1"));
}

#[test]
fn n2_crio_a_file_of_our_name_that_is_somebodys_is_theirs() {
    let node = Node::new();
    node.put(OURS, "# mine\n");
    let outcome = node.drop_in(&["docker.io", "ghcr.io"], &[]);
    assert_eq!(outcome.placed.len(), 2);
    assert_eq!(outcome.placed[&"docker.io".parse().unwrap()].as_ref().unwrap_err().reason(), "ForeignFile");
    node.drop_in(&[], &[]);
    node.open().withdraw_all();
    assert_eq!(node.text(OURS), "# mine\n");
}

#[test]
fn n2_crio_power_lost_at_any_step_leaves_the_old_file_or_the_new() {
    for steps in 0.. {
        let node = Node::new();
        node.drop_in(&["docker.io"], &[]);
        let old = node.text(OURS);
        let mut files = node.open();
        files.disk.steps_left.set(Some(steps));
        let main = node.temp.path().join("none");
        files.reconcile_drop_in(&set(&["docker.io", "ghcr.io"]), &BTreeSet::new(), &SETTINGS, &main);
        let finished = files.disk.steps_left.get() != Some(0);
        drop(files);
        let now = node.text(OURS);
        assert!(now == old || node.mirrored() == set(&["docker.io", "ghcr.io"]), "{steps}: {now}");
        let read_by_runtimes = node.tree().into_keys().filter(|path| path.extension().is_some_and(|end| end == "conf"));
        assert_eq!(read_by_runtimes.count(), 1, "{steps}");
        node.open().withdraw_all();
        assert!(node.tree().is_empty(), "{steps}");
        if finished {
            assert!(steps > 5);
            return;
        }
    }
}
