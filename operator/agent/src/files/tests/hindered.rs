//! What keeps a file from being placed, and what is said then.

use super::*;

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
