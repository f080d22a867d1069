//! Tests of files on a real file system.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

mod cases;
mod crashes;
mod drop_in;
mod kills;
mod trouble;

const SETTINGS: Settings = Settings { port: 909, dial_timeout: true };
const THEIRS: &str = "server = \"https://ghcr.io\"\n\n# mirror of the company\n[host.\"https://m.example\"]\n";

/// What is on disk: path to content and mode; directories end in `/`.
type Tree = BTreeMap<PathBuf, (Vec<u8>, u32)>;

struct Node {
    temp: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { temp: tempfile::tempdir().unwrap() };
        fs::create_dir(node.root()).unwrap();
        node
    }

    /// Somebody else's ghcr.io, certificates of a private registry, and an empty directory.
    fn lived_in() -> Self {
        let node = Self::new();
        node.put("ghcr.io/hosts.toml", THEIRS);
        fs::set_permissions(node.root().join("ghcr.io/hosts.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        node.put("reg.example:5000/ca.crt", "pem");
        fs::create_dir(node.root().join("quay.io")).unwrap();
        node.put("other.io/hosts.toml", "# not ours to touch\n");
        node
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("certs.d")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Waits for the lock: a process that another test starts at this moment has it, too, between its fork and its exec.
    fn open(&self) -> Files {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match Files::open(&self.root(), &self.temp.path().join("state")) {
                Err(FileError::Locked { .. }) if Instant::now() < until => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    fn place(&self, registries: &[&str]) -> Outcome {
        self.open().reconcile(&set(registries), &BTreeSet::new(), &SETTINGS)
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
                let bytes = if metadata.is_dir() { b"/".to_vec() } else { fs::read(&path).unwrap() };
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                tree.insert(path, (bytes, metadata.permissions().mode()));
            }
        }
        tree
    }
}

fn set(registries: &[&str]) -> BTreeSet<RegistryName> {
    registries.iter().map(|registry| registry.parse().unwrap()).collect()
}

const ALL: [&str; 5] = ["docker.io", "ghcr.io", "quay.io", "reg.example:5000", "new.example:5000"];

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

fn folder_of(node: &Node, path: &str) -> PathBuf {
    node.root().join(path).parent().unwrap().to_owned()
}

#[test]
fn nothing_is_written_where_it_would_hide_certificates_and_what_was_goes_when_they_appear() {
    for (path, text) in [
        ("_default/ca.crt", "pem"),
        ("_default/hosts.toml", "ca = \"/ca.crt\"\n"),
        ("_default/hosts.toml", "[host.\"https://all.example\"]\nclient = \"c.pem\"\n"),
        ("docker.io/me.key", "pem"),
    ] {
        let node = Node::new();
        node.put(path, text);
        let before = node.tree();
        let outcome = node.place(&["docker.io"]);
        let error = outcome.placed.values().next().unwrap().as_ref().unwrap_err();
        assert!(error.is_unsupported() && error.reason() == "CertificatesInDirectory", "{path}: {error}");
        let folder = folder_of(&node, path).to_string_lossy().into_owned();
        assert!(error.message().contains(&folder) && error.message().contains("write a hosts.toml"));
        assert_eq!(node.tree(), before, "{path}");
        let node = Node::new();
        node.place(&["docker.io"]);
        node.put(path, text);
        assert_eq!(node.place(&["docker.io"]).withdrawn, 1, "{path}");
        let left: Vec<_> = node.tree().into_keys().collect();
        assert_eq!(left, [folder_of(&node, path), node.root().join(path)]);
    }
}

#[test]
fn certificates_that_a_registrys_own_hosts_toml_names_hinder_nothing() {
    let node = Node::new();
    node.put("docker.io/hosts.toml", "ca = \"ca.crt\"\n");
    node.put("docker.io/ca.crt", "pem");
    let before = node.tree();
    assert_eq!(node.place(&["docker.io"]).written, 1);
    assert_eq!(node.place(&["docker.io"]).written, 0);
    node.open().withdraw_all();
    assert_eq!(node.tree(), before);
}

#[test]
fn without_its_state_directory_an_agent_still_finds_what_was_theirs() {
    let node = Node::lived_in();
    node.place(&["ghcr.io"]);
    fs::remove_dir_all(node.temp.path().join("state")).unwrap();
    node.open().withdraw_all();
    let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&node.text("ghcr.io/hosts.toml")), lines(THEIRS));
}

#[test]
fn what_cannot_be_written_says_so_and_hinders_no_other_file() {
    let node = Node::new();
    node.put("a.io/hosts.toml", "server = ");
    node.put("c.io/hosts.toml", "");
    fs::remove_file(node.root().join("c.io/hosts.toml")).unwrap();
    std::os::unix::fs::symlink("/dev/null", node.root().join("c.io/hosts.toml")).unwrap();
    let before = node.tree();
    let outcome = node.place(&["a.io", "b.io", "c.io"]);
    let error = |name: &str| outcome.placed[&name.parse().unwrap()].as_ref().unwrap_err();
    assert_eq!(error("a.io").reason(), "ForeignFileNotMergeable");
    assert!(error("a.io").message().contains("a.io/hosts.toml"), "{}", error("a.io").message());
    assert_eq!(error("c.io").reason(), "SymbolicLink");
    assert!(outcome.placed[&"b.io".parse().unwrap()].is_ok());
    node.open().withdraw_all();
    assert_eq!(node.tree(), before);
}

#[test]
fn another_directory_is_refused_until_the_files_in_the_first_are_gone() {
    let node = Node::new();
    node.put("docker.io/hosts.toml", THEIRS);
    let before = node.tree();
    let reconcile = |name: &str, place: &[&str]| {
        node.open().named(name).map(|mut files| files.reconcile(&set(place), &BTreeSet::new(), &SETTINGS))
    };
    assert!(reconcile("/etc/first", &["docker.io"]).unwrap().placed.values().all(Result::is_ok));
    let error = reconcile("/etc/second", &["docker.io"]).unwrap_err();
    assert_eq!(error.reason(), "RegistryDirChanged");
    assert!(error.is_unsupported() && error.message().contains("/etc/first"), "{}", error.message());
    // The way out that the message names.
    reconcile("/etc/first", &[]).unwrap();
    assert_eq!(node.tree(), before);
    assert!(reconcile("/etc/second", &["docker.io"]).is_ok());
}

#[test]
fn a_pipe_in_place_of_a_file_is_named_and_not_waited_for() {
    let node = Node::new();
    fs::create_dir(node.root().join("a.io")).unwrap();
    let pipe = node.root().join("a.io/hosts.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let outcome = node.place(&["a.io", "b.io"]);
    assert_eq!(outcome.placed[&"a.io".parse().unwrap()].as_ref().unwrap_err().reason(), "NotRegularFile");
    assert!(outcome.placed[&"b.io".parse().unwrap()].is_ok());
    assert!(node.open().withdraw_all().stuck.is_empty());
    assert!(pipe.exists());
}

#[test]
fn a_missing_directory_and_a_second_agent_are_named() {
    let node = Node::new();
    let first = node.open();
    let second = Files::open(&node.root(), &node.temp.path().join("state")).unwrap_err();
    assert_eq!(second.reason(), "AnotherAgent");
    drop(first);
    fs::remove_dir(node.root()).unwrap();
    let outcome = node.place(&["docker.io"]);
    let error = outcome.placed.values().next().unwrap().as_ref().unwrap_err();
    assert_eq!(error.reason(), "DirectoryMissing");
    assert!(!error.is_unsupported());
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
