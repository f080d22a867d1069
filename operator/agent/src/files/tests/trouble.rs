//! Tests of a node in trouble, made for real in a mount namespace or without capabilities: what is said, that nothing is
//! half done, and that it heals when the trouble ends.

use std::{
    io::Write as _,
    os::unix::fs::{MetadataExt as _, chown},
    process::Command,
};

use super::{super::disk::Attributes, *};

/// In the other process: the trouble that `$TIDEPOOL_TROUBLE` names.
#[test]
#[ignore = "runs in a namespace of its own, in which the tests below start it"]
fn the_trouble() {
    match std::env::var("TIDEPOOL_TROUBLE").unwrap_or_default().as_str() {
        "read-only" => read_only(),
        "full" => full("size=32k,nr_inodes=64", "full"),
        "no inodes" => full("size=256k,nr_inodes=24", "no inodes"),
        "state full" => state_full(),
        "no capabilities" => no_capabilities(),
        _ => {}
    }
}

/// Runs it there; skipped where the machine does not allow that.
fn run(trouble: &str, around: &[&str]) {
    let possible = Command::new(around[0]).args(&around[1..]).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        writeln!(std::io::stderr(), "SKIPPED: trouble with files ({trouble}) needs {}", around.join(" ")).unwrap();
        return;
    }
    let mut command = Command::new(around[0]);
    command.args(&around[1..]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "files::tests::trouble::the_trouble", "--ignored"]).env("TIDEPOOL_TROUBLE", trouble);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{trouble}: {said}");
}

const NAMESPACE: [&str; 3] = ["unshare", "--map-root-user", "--mount"];

#[test]
fn n2_a_read_only_directory_is_named_and_served_again_when_it_can_be_written() {
    run("read-only", &NAMESPACE);
}

#[test]
fn n2_a_full_disk_is_named_leaves_no_half_file_and_heals() {
    run("full", &NAMESPACE);
    run("no inodes", &NAMESPACE);
}

#[test]
fn n2_a_full_state_directory_costs_nobody_their_file() {
    run("state full", &NAMESPACE);
}

#[test]
fn n2_an_agent_without_capabilities_names_files_that_it_could_not_give_back() {
    run("no capabilities", &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
}

#[test]
fn n2_a_quota_is_a_full_disk() {
    let error = FileError::io("write", Path::new("/x"))(std::io::Error::from_raw_os_error(122));
    assert_eq!(error.reason(), "DiskFull");
    assert!(error.message().contains("df -i") && !error.is_unsupported());
}

fn sh(script: &str, arguments: &[&Path]) {
    assert!(Command::new("sh").args(["-euc", script, "sh"]).args(arguments).status().unwrap().success(), "{script}");
}

/// The one reason why files are not there.
fn reason(outcome: &Outcome) -> &'static str {
    let reasons: BTreeSet<_> = outcome.placed.values().map(|placed| placed.as_ref().unwrap_err().reason()).collect();
    assert_eq!(reasons.len(), 1, "{outcome:?}");
    reasons.into_iter().next().unwrap()
}

fn read_only() {
    let node = Node::lived_in();
    node.place(&["ghcr.io"]);
    let before = node.tree();
    sh("mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"", &[&node.root()]);
    let mut files = node.open();
    let mut place = |all: &[&str]| files.reconcile(&set(all), &BTreeSet::new(), &SETTINGS);
    let outcome = place(&["docker.io", "quay.io"]);
    assert_eq!(reason(&outcome), "ReadOnlyFileSystem");
    let error = outcome.placed.values().next().unwrap().as_ref().unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("agent.registryDir"), "{}", error.message());
    assert!(!outcome.stuck.is_empty(), "ghcr.io could not be withdrawn");
    assert!(place(&["ghcr.io"]).placed.values().all(Result::is_ok), "what is in place needs no writing");
    assert_eq!(node.tree(), before);
    sh("mount -o remount,bind,rw \"$1\"", &[&node.root()]);
    assert!(place(&["docker.io", "quay.io", "ghcr.io"]).placed.values().all(Result::is_ok));
}

/// Fills the small disk under a directory, to the last page; inodes are left.
fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    assert!((0..1024).any(|_| file.write_all(&[0; 512]).is_err()), "this disk is not small");
}

/// Takes the few inodes that a disk has.
fn take_inodes(folder: &Path) {
    assert!((0..64).any(|n| fs::File::create(folder.join(n.to_string())).is_err()), "this disk has many inodes");
}

fn full(options: &str, what: &str) {
    let node = Node::new();
    sh("mount -t tmpfs -o \"$2\" tmpfs \"$1\"", &[&node.root(), Path::new(options)]);
    node.put("ghcr.io/hosts.toml", THEIRS);
    fs::create_dir(node.root().join("filler")).unwrap();
    fs::create_dir(node.root().join("quay.io")).unwrap();
    if what == "full" {
        fill(&node.root().join("filler"));
    } else {
        take_inodes(&node.root().join("filler"));
    }
    let before = node.tree();
    let mut files = node.open();
    let mut place = || files.reconcile(&set(&["docker.io", "ghcr.io", "quay.io"]), &BTreeSet::new(), &SETTINGS);
    let outcome = place();
    assert_eq!(reason(&outcome), "DiskFull");
    let error = outcome.placed.values().next().unwrap().as_ref().unwrap_err();
    assert!(!error.is_unsupported() && error.message().contains("free space"), "{}", error.message());
    assert_eq!(node.tree(), before, "nothing half is left, not even aside");
    fs::remove_dir_all(node.root().join("filler")).unwrap();
    assert_eq!(place().written, 3);
    drop(files);
    node.open().withdraw_all();
    assert_eq!(node.text("ghcr.io/hosts.toml"), THEIRS);
}

fn state_full() {
    let node = Node::lived_in();
    let before = node.tree();
    let state = node.temp.path().join("state");
    fs::create_dir(&state).unwrap();
    sh("mount -t tmpfs -o size=32k,nr_inodes=64 tmpfs \"$1\"", &[&state]);
    let mut files = node.open().named("/etc/certs.d").unwrap();
    let mut place = |all: &[&str]| files.reconcile(&set(all), &BTreeSet::new(), &SETTINGS);
    fs::create_dir(state.join("filler")).unwrap();
    fill(&state.join("filler"));
    let outcome = place(&["docker.io", "ghcr.io"]);
    assert_eq!(reason(&outcome), "DiskFull");
    let message = outcome.placed.values().next().unwrap().as_ref().unwrap_err().message();
    assert!(message.contains("/state/"), "{message}");
    assert_eq!(node.tree(), before, "a directory that is not noted is not written to");
    fs::remove_file(state.join("filler/filler")).unwrap();
    assert_eq!(place(&["docker.io"]).written, 1);
    fill(&state.join("filler"));
    let outcome = place(&["docker.io", "ghcr.io", "quay.io"]);
    let failed: Vec<_> = outcome.placed.iter().filter(|(_, placed)| placed.is_err()).map(|(name, _)| name).collect();
    assert_eq!(failed, [&"ghcr.io".parse().unwrap()], "the others have no original to keep");
    assert_eq!(node.text("ghcr.io/hosts.toml"), THEIRS, "nothing was replaced whose original could not be kept");
    fs::remove_dir_all(state.join("filler")).unwrap();
    assert_eq!(place(&["docker.io", "ghcr.io", "quay.io"]).written, 1);
    drop(files);
    node.open().withdraw_all();
    assert_eq!(node.tree(), before);
}

/// As in the agent's pod: user 0 and no capability (but that for its port).
fn no_capabilities() {
    let node = Node::lived_in();
    let file = |name: &str| node.root().join(name).join("hosts.toml");
    node.put("secret.io/hosts.toml", THEIRS);
    assert!(chown(file("ghcr.io"), Some(1000), Some(1000)).is_err(), "this has capabilities");
    fs::set_permissions(file("secret.io"), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = node.place(&["secret.io", "docker.io"]);
    let error = outcome.placed[&"secret.io".parse().unwrap()].as_ref().unwrap_err();
    assert_eq!((error.reason(), error.is_unsupported()), ("PermissionDenied", true));
    assert!(outcome.placed[&"docker.io".parse().unwrap()].is_ok());
    assert!(node.open().withdraw_all().stuck.is_empty(), "a file that we cannot read is none of ours");
    let aside = node.temp.path().join("given");
    let attributes = Attributes { owner: Some((1000, 1000)), ..Attributes::NEW };
    let error = Disk::default().write_aside(&aside, b"x", attributes).unwrap_err();
    assert_eq!((error.reason(), error.is_unsupported()), ("FileOwner", true));
    assert!(!aside.exists() && error.message().contains("chown root:root"), "{}", error.message());
}

#[test]
fn n2_the_owner_of_a_file_is_kept_and_comes_back() {
    let node = Node::lived_in();
    let path = node.root().join("ghcr.io/hosts.toml");
    if chown(&path, Some(1000), Some(1001)).is_err() {
        writeln!(std::io::stderr(), "SKIPPED: giving a file to another user needs root").unwrap();
        return;
    }
    let owner = || fs::metadata(&path).map(|metadata| (metadata.uid(), metadata.gid())).unwrap();
    node.put("_default/hosts.toml", THEIRS);
    chown(node.root().join("_default/hosts.toml"), Some(1000), Some(1001)).unwrap();
    node.place(&["ghcr.io", "docker.io"]);
    assert!(node.text("ghcr.io/hosts.toml").contains("127.0.0.1") && owner() == (1000, 1001));
    let new = fs::metadata(node.root().join("docker.io/hosts.toml")).unwrap();
    assert_eq!(new.uid(), 0, "a file of our making needs no owner that an agent without capabilities cannot give");
    node.open().withdraw_all();
    assert_eq!((owner(), node.text("ghcr.io/hosts.toml")), ((1000, 1001), THEIRS.to_owned()));
}
