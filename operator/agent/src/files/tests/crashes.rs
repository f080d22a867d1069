//! Tests of power lost between any two steps.

use super::*;

/// Runs `change` with power lost after each number of steps, and hands the node as the crash left it to `check`.
fn at_every_crash(prepare: impl Fn() -> Node, change: impl Fn(&mut Files), check: impl Fn(&Node, usize)) {
    for steps in 0.. {
        let node = prepare();
        let mut files = node.open();
        files.disk.steps_left.set(Some(steps));
        change(&mut files);
        let finished = files.disk.steps_left.get() != Some(0);
        drop(files);
        check(&node, steps);
        if finished {
            assert!(steps > 5, "the change took {steps} steps");
            return;
        }
    }
}

/// Every hosts.toml of `tree` is as in `old` or as in `new`, up to mode.
pub(super) fn each_file_is_old_or_new(tree: &Tree, old: &Tree, new: &Tree, at: &str) {
    let content = |tree: &Tree, path: &PathBuf| tree.get(path).map(|(bytes, _)| bytes.clone());
    let paths: BTreeSet<_> = [tree, old, new].into_iter().flat_map(BTreeMap::keys).collect();
    for path in paths.into_iter().filter(|path| path.ends_with(FILE)) {
        let is_aside = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".tidepool-"));
        let now = content(tree, path);
        assert!(is_aside || now == content(old, path) || now == content(new, path), "{at}: {}", path.display());
    }
    let empty = |path: &&PathBuf| path.is_dir() && fs::read_dir(path).unwrap().count() == 0;
    let emptied =
        tree.keys().filter(empty).find(|path| !old.contains_key(*path) && !path.ends_with(".tidepool-new-docker.io"));
    let aside = emptied.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with(".tidepool-"));
    assert_eq!(aside, None, "{at}: an empty directory hides _default");
}

/// A tree of node A seen from node B.
pub(super) fn moved(tree: &Tree, from: &Node, to: &Node) -> Tree {
    tree.iter().map(|(path, file)| (to.root().join(path.strip_prefix(from.root()).unwrap()), file.clone())).collect()
}

#[test]
fn n2_power_lost_while_files_are_placed_leaves_each_old_or_new_and_loses_nothing() {
    let model = Node::lived_in();
    let old = model.tree();
    model.place(&ALL);
    let new = model.tree();
    let place = |files: &mut Files| drop(files.reconcile(&set(&ALL), &BTreeSet::new(), &SETTINGS));
    at_every_crash(Node::lived_in, place, |node, steps| {
        let (old, new) = (moved(&old, &model, node), moved(&new, &model, node));
        each_file_is_old_or_new(&node.tree(), &old, &new, &steps.to_string());
        if steps % 2 == 0 {
            node.place(&ALL);
            assert_eq!(node.tree(), new, "{steps}");
        }
        node.open().withdraw_all();
        assert_eq!(node.tree(), old, "{steps}");
    });
}

#[test]
fn n2_power_lost_while_files_are_withdrawn_leaves_each_old_or_new_and_loses_nothing() {
    let model = Node::lived_in();
    let old = model.tree();
    model.place(&ALL);
    let new = model.tree();
    let prepare = || {
        let node = Node::lived_in();
        node.place(&ALL);
        node
    };
    at_every_crash(
        prepare,
        |files| drop(files.withdraw_all()),
        |node, steps| {
            let (old, new) = (moved(&old, &model, node), moved(&new, &model, node));
            each_file_is_old_or_new(&node.tree(), &old, &new, &steps.to_string());
            if steps % 2 == 0 {
                node.place(&ALL);
                assert_eq!(node.tree(), new, "{steps}");
            }
            node.open().withdraw_all();
            assert_eq!(node.tree(), old, "{steps}");
        },
    );
}
