//! Tests of an agent that is killed at any of the system calls by which it changes files: this test's own program does
//! the change in another process, and strace kills it at the first, the second, the third... call of each kind.

use std::{io::Write as _, os::unix::process::ExitStatusExt as _, process::Command};

use super::*;

/// All calls that change what is on disk.
const CALLS: [&str; 12] = [
    "openat",
    "write",
    "fchown",
    "fchmod",
    "utimensat",
    "fsync",
    "rename",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "flock",
];

/// In the other process: does to the files in `$TIDEPOOL_KILLED` what `$TIDEPOOL_ACT` says.
#[test]
#[ignore = "runs in a process of its own, which the tests below start and kill"]
fn the_change() {
    let Some(folder) = std::env::var_os("TIDEPOOL_KILLED").map(PathBuf::from) else { return };
    let mut files = Files::open(&folder.join("certs.d"), &folder.join("state")).unwrap();
    match std::env::var("TIDEPOOL_ACT").unwrap().as_str() {
        "place" => drop(files.reconcile(&set(&ALL), &BTreeSet::new(), &SETTINGS)),
        "withdraw" => drop(files.withdraw_all()),
        other => panic!("{other}"),
    }
}

enum End {
    Killed,
    Finished,
    /// strace may not trace here, or is not installed.
    NoTracer,
}

/// Does `act` to a node's files, killed at the `nth` call of this kind.
fn killed_at(node: &Node, act: &str, call: &str, nth: usize) -> End {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}")]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "files::tests::kills::the_change", "--ignored", "--quiet"]);
    command.env("TIDEPOOL_KILLED", node.temp.path()).env("TIDEPOOL_ACT", act);
    match command.output() {
        Ok(output) if output.status.success() => End::Finished,
        Ok(output) if output.status.signal() == Some(9) => End::Killed,
        Ok(output) if output.status.code() == Some(1) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("ptrace"), "{call} {nth}: {said} {}", String::from_utf8_lossy(&output.stdout));
            End::NoTracer
        }
        Ok(output) => panic!("{call} {nth}: {output:?}"),
        Err(_) => End::NoTracer,
    }
}

/// Kills `act` at every call, and hands the node as that left it to `check`; how often there was one.
fn at_every_kill(act: &str, prepare: impl Fn() -> Node, check: impl Fn(&Node, &str)) -> usize {
    let mut kills = 0;
    for call in CALLS {
        for nth in 1.. {
            let node = prepare();
            match killed_at(&node, act, call, nth) {
                End::Killed => kills += 1,
                End::Finished => break,
                End::NoTracer => {
                    writeln!(std::io::stderr(), "SKIPPED: killing an agent at every system call needs strace").unwrap();
                    return usize::MAX;
                }
            }
            check(&node, &format!("{act}, killed at {call} {nth}"));
        }
    }
    kills
}

/// Each file is the old or the new one, nothing new is read, and from there both ways lead to where they should.
fn assert_whole(node: &Node, at: &str, (old, new): (&Tree, &Tree), model: &Node) {
    let (old, new) = (crashes::moved(old, model, node), crashes::moved(new, model, node));
    crashes::each_file_is_old_or_new(&node.tree(), &old, &new, at);
    let twin = node.copy();
    twin.place(&ALL);
    assert_eq!(twin.tree(), crashes::moved(&new, node, &twin), "{at}: placed after it");
    node.open().withdraw_all();
    assert_eq!(node.tree(), old, "{at}: withdrawn after it");
}

impl Node {
    /// The same files elsewhere.
    fn copy(&self) -> Self {
        let twin = Self { temp: tempfile::tempdir().unwrap() };
        let from = self.temp.path().join(".");
        assert!(Command::new("cp").arg("-a").arg(from).arg(twin.temp.path()).status().unwrap().success());
        twin
    }
}

fn models() -> (Node, Tree, Tree) {
    let model = Node::lived_in();
    let old = model.tree();
    model.place(&ALL);
    let new = model.tree();
    (model, old, new)
}

#[test]
fn n2_killed_at_any_system_call_of_placing_each_file_is_old_or_new_and_nothing_is_lost() {
    let (model, old, new) = models();
    let kills = at_every_kill("place", Node::lived_in, |node, at| assert_whole(node, at, (&old, &new), &model));
    assert!(kills > 40, "{kills} system calls");
}

#[test]
fn n2_killed_at_any_system_call_of_withdrawing_each_file_is_old_or_new_and_nothing_is_lost() {
    let (model, old, new) = models();
    let prepare = || {
        let node = Node::lived_in();
        node.place(&ALL);
        node
    };
    let kills = at_every_kill("withdraw", prepare, |node, at| assert_whole(node, at, (&old, &new), &model));
    assert!(kills > 30, "{kills} system calls");
}
