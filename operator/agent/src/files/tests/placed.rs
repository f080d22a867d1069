//! What is placed, what stays somebody's, and that everything comes back.

use proptest::prelude::*;

use super::*;

#[test]
fn files_are_placed_in_the_spelling_that_exists_and_everything_comes_back_when_they_go() {
    let node = Node::lived_in();
    let before = node.tree();
    let modified = |node: &Node| fs::metadata(node.root().join("ghcr.io/hosts.toml")).unwrap().modified().unwrap();
    let then = modified(&node);
    std::thread::sleep(Duration::from_millis(10));
    let outcome = node.place(&ALL);
    let (failed, placed): (Vec<_>, Vec<_>) = outcome.placed.values().partition(|placed| placed.is_err());
    assert_eq!((failed.len(), placed.len(), outcome.written), (1, 4, 4), "{outcome:?}");
    assert!(node.text("docker.io/hosts.toml").contains("origin=created"));
    assert!(node.text("quay.io/hosts.toml").contains("origin=absent"));
    assert!(node.text("new.example_5000_/hosts.toml").contains("127.0.0.1:909"));
    let merged = node.text("ghcr.io/hosts.toml");
    assert!(merged.contains("origin=merged") && merged.find("127.0.0.1") < merged.find("m.example"), "{merged}");
    assert_eq!(fs::metadata(node.root().join("ghcr.io/hosts.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(present(&node.root(), &set(&ALL)).len(), 4);
    assert_eq!(node.open().withdraw_all().withdrawn, 4);
    assert_eq!(node.tree(), before);
    assert_eq!(modified(&node), then);
    assert_eq!(fs::read_dir(node.temp.path().join("state/originals")).unwrap().count(), 0);
}

#[test]
fn a_second_pass_writes_nothing() {
    let node = Node::lived_in();
    node.place(&ALL);
    let inode =
        |node: &Node| std::os::unix::fs::MetadataExt::ino(&node.root().join("ghcr.io/hosts.toml").metadata().unwrap());
    let (before, first) = (node.tree(), inode(&node));
    let outcome = node.place(&ALL);
    assert_eq!((outcome.written, outcome.withdrawn, outcome.edited.len()), (0, 0, 0));
    assert_eq!((node.tree(), inode(&node)), (before, first));
}

#[test]
fn files_of_registries_that_are_only_kept_are_not_touched_and_others_are_withdrawn() {
    let node = Node::new();
    node.place(&["docker.io", "quay.io"]);
    let newer = Settings { port: 910, ..SETTINGS };
    let outcome = node.open().reconcile(&BTreeSet::new(), &set(&["docker.io"]), &newer);
    assert_eq!((outcome.written, outcome.withdrawn), (0, 1));
    assert!(node.text("docker.io/hosts.toml").contains(":909"));
    assert!(!node.root().join("quay.io").exists());
}

#[test]
fn a_users_edit_is_kept_reported_and_survives_withdrawal() {
    let node = Node::lived_in();
    node.place(&["ghcr.io", "docker.io"]);
    for path in ["ghcr.io/hosts.toml", "docker.io/hosts.toml"] {
        let edited = node.text(path).replace("m.example", "m2.example") + "[host.\"https://added.example\"]\n";
        node.put(path, &edited);
    }
    let outcome = node.place(&["ghcr.io", "docker.io"]);
    assert_eq!(outcome.edited, set(&["ghcr.io", "docker.io"]));
    let merged = node.text("ghcr.io/hosts.toml");
    assert!(merged.contains("m2.example") && merged.contains("added.example"), "{merged}");
    assert!(merged.find("127.0.0.1") < merged.find("m2.example") && merged.matches("[host.\"http://127").count() == 1);
    assert!(node.place(&["ghcr.io", "docker.io"]).edited.is_empty());
    node.open().withdraw_all();
    for path in ["ghcr.io/hosts.toml", "docker.io/hosts.toml"] {
        let left = node.text(path);
        assert!(left.contains("added.example") && !left.contains("127.0.0.1") && !left.contains("tidepool"), "{left}");
    }
}

#[test]
fn an_edit_is_kept_also_when_the_file_goes_before_we_saw_it() {
    let node = Node::lived_in();
    node.place(&["ghcr.io"]);
    node.put("ghcr.io/hosts.toml", &(node.text("ghcr.io/hosts.toml") + "[host.\"https://added.example\"]\n"));
    node.open().withdraw_all();
    let left = node.text("ghcr.io/hosts.toml");
    assert!(left.contains("added.example") && left.contains("m.example") && !left.contains("127.0.0.1"), "{left}");
}

#[test]
fn a_file_that_somebody_replaced_or_removed_is_theirs() {
    let node = Node::lived_in();
    node.place(&["ghcr.io", "docker.io"]);
    node.put("ghcr.io/hosts.toml", "# new\n");
    fs::remove_file(node.root().join("docker.io/hosts.toml")).unwrap();
    node.open().withdraw_all();
    assert_eq!(node.text("ghcr.io/hosts.toml"), "# new\n");
    assert!(!node.root().join("docker.io/hosts.toml").exists());
    node.place(&["ghcr.io"]);
    node.open().withdraw_all();
    assert_eq!(node.text("ghcr.io/hosts.toml"), "# new\n");
}

#[test]
fn n2_a_directory_of_our_making_goes_also_when_somebody_removed_our_file_first() {
    let node = Node::lived_in();
    node.put("_default/hosts.toml", "[host.\"https://all.example\"]\n");
    let before = node.tree();
    let remove = || ["docker.io", "quay.io"].map(|name| fs::remove_file(node.root().join(name).join(FILE)).unwrap());
    node.place(&["docker.io", "quay.io"]);
    remove();
    node.open().withdraw_all();
    assert_eq!(node.tree(), before, "an empty docker.io hides _default");
    node.place(&["docker.io", "quay.io"]);
    remove();
    node.place(&["docker.io", "quay.io"]);
    assert!(node.text("docker.io/hosts.toml").contains("all.example"), "a directory of ours hides _default");
    node.open().withdraw_all();
    assert_eq!(node.tree(), before);
    // Of ours, then removed and made again by somebody: theirs.
    node.place(&["docker.io"]);
    fs::remove_dir_all(node.root().join("docker.io")).unwrap();
    node.open().withdraw_all();
    fs::create_dir(node.root().join("docker.io")).unwrap();
    node.place(&["docker.io"]);
    node.open().withdraw_all();
    assert!(node.root().join("docker.io").is_dir());
}

#[test]
fn n2_every_rename_is_made_durable() {
    let node = Node::lived_in();
    let mut files = node.open().named("/etc/certs.d").unwrap();
    files.reconcile(&set(&ALL), &BTreeSet::new(), &SETTINGS);
    assert_eq!(files.disk.unsynced.borrow().len(), 0, "{:?}", files.disk.unsynced);
    files.withdraw_all();
    assert_eq!(files.disk.unsynced.borrow().len(), 0, "{:?}", files.disk.unsynced);
}

#[test]
fn what_default_holds_is_not_lost_for_a_registry_with_a_file_of_its_own() {
    let node = Node::new();
    node.put("_default/hosts.toml", "[host.\"https://all.example\"]\n");
    let before = node.tree();
    node.place(&["docker.io"]);
    let text = node.text("docker.io/hosts.toml");
    assert!(text.find("127.0.0.1").unwrap() < text.find("all.example").unwrap(), "{text}");
    node.put("_default/hosts.toml", "[host.\"https://changed.example\"]\n");
    assert_eq!(node.place(&["docker.io"]).written, 1);
    assert!(node.text("docker.io/hosts.toml").contains("changed.example"));
    node.put("_default/hosts.toml", "[host.\"https://all.example\"]\n");
    node.open().withdraw_all();
    assert_eq!(node.tree(), before);
}

/// What somebody may have put into a registry's directory.
fn any_directory() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let text = "(server = \"https://[a-z]{1,4}\"\n)?(# [a-z]{0,4}\n)?(\\[host\\.\"https://[a-z]{1,4}\"\\]\n)?";
    let file = prop_oneof![4 => text.prop_map(Some), 1 => Just(Some("server = [".to_owned())), 2 => Just(None)];
    (file, any::<bool>()).prop_map(|(file, certificate)| {
        let file = file.map(|text| ("hosts.toml", text));
        file.into_iter().chain(certificate.then(|| ("ca.crt", "pem".to_owned()))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_was_there_comes_back(
        directories in prop::collection::btree_map(prop::sample::select(vec!["docker.io", "a.b:5000", "a.b_5000_", "_default"]), any_directory(), 0..4),
    ) {
        let node = Node::new();
        for (name, files) in &directories {
            fs::create_dir_all(node.root().join(name)).unwrap();
            files.iter().for_each(|(file, text)| node.put(&format!("{name}/{file}"), text));
        }
        let before = node.tree();
        let outcome = node.place(&["docker.io", "a.b:5000"]);
        let broken = |name: &str| outcome.placed[&name.parse().unwrap()].is_err();
        let is_hindered = before.values().any(|(bytes, _)| bytes == b"server = [" || bytes == b"pem");
        prop_assert!(is_hindered || !broken("docker.io") && !broken("a.b:5000"));
        prop_assert_eq!(node.place(&["docker.io", "a.b:5000"]).written, 0);
        node.open().withdraw_all();
        prop_assert_eq!(node.tree(), before);
    }
}
