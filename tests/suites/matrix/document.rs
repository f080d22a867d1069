//! The table as a document.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tidepool_tests::matrix::{Cell, Row, table, version};

use crate::stage::{LAYERS_MIB, LINK_MIB, PAIRS, Stage};

/// What an image has beside its layers.
const ROOT_MIB: u32 = 2;

/// Writes the table with what it was made of; no dates, so that the same result is the same file.
pub(crate) fn write(stage: &Stage, rows: &[Row], file: &Path) -> Result<()> {
    let text = format!("{}\n{}\n{}", introduction(stage)?, result(rows), table(rows));
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// What became of the promise, and which states were not measured or not all of it.
fn result(rows: &[Row]) -> String {
    let cells: usize = rows.iter().map(|row| row.cells.len()).sum();
    let why = |row: &Row| {
        let said = |(cell, why): (&Cell, String)| {
            let (name, pull, runtime) = (&row.name, cell.pull.word(), version(cell.runtime));
            format!("- `{name}`, {pull}, containerd {runtime}: {why}.\n")
        };
        row.broken().into_iter().map(said).collect::<Vec<_>>()
    };
    let broken: Vec<String> = rows.iter().flat_map(why).collect();
    let kept = match broken.len() {
        0 => format!("All {cells} cells that were measured keep the promise.\n"),
        some => format!("{some} of {cells} cells that were measured do not keep the promise:\n\n{}", broken.concat()),
    };
    let missing = |row: &Row| {
        let what = if row.cells.is_empty() { "no cell" } else { "not all cells" };
        row.trouble.as_ref().map(|trouble| format!("- `{}`, {what}: {trouble}.\n", row.name))
    };
    match rows.iter().filter_map(missing).collect::<String>() {
        none if none.is_empty() => kept,
        some => format!("{kept}\nNot measured:\n\n{some}"),
    }
}

fn introduction(stage: &Stage) -> Result<String> {
    let node = |node: usize| {
        let path = "jsonpath={.status.nodeInfo.containerRuntimeVersion}, kubelet {.status.nodeInfo.kubeletVersion}";
        stage.cluster.kubectl(&["get", "node", &format!("node{node}"), "-o", path])
    };
    let versions = PAIRS.iter().map(|(with, ..)| node(*with)).collect::<Result<Vec<_>>>()?.join("; ");
    let (image, layers) = (LAYERS_MIB.iter().sum::<u32>() + ROOT_MIB, LAYERS_MIB.len() + 1);
    Ok(format!(
        r#"# Fault matrix

A pull in every state that Tidepool, the cluster or upstream may be in, beside the same pull by a node without Tidepool.

**The promise.** No state makes a pull fail that would have succeeded without Tidepool, or makes any pull, one that fails
too, take longer than 1.2 times as long and 2 s; one that fails too may go on for as long as contents come, for the mirror
may hold layers of which the plain node had a part only: then what it got takes so long on its link. What the mirror keeps
is had when upstream is gone, as fast as ever. With a member left, what is kept comes through the mirror, or more than half
of it; where nothing on the way to the mirror is broken, all of it.

**Made by** `make matrix`, which writes this file in about half an hour. `make matrix ONLY="member-killed upstream-hung"`
measures some states and writes nothing; `make test` makes a dozen of the pulls. `tests/suites/matrix` says how each
fault is made, and `tests/src/matrix/verdict.rs` what breaks the promise.

**A cell** is `11.4 s / 11.2 s, 100 %`: the pull by the node with Tidepool, the one by the node without it at the same
moment, and how much of the image came through the mirror; 0 % went around it. A pull is given up after 60 s. A dash is a
pull that makes no sense in that state.
- *cold*: contents that nobody pulled before, once the fault is there;
- *warm*: contents that the mirror keeps, once the fault is there;
- *running*: cold, and the fault comes after 3 s. The runtime asks for three layers at a time, so some are on their way and
  others yet to be asked for.

**Made of** four nodes that pull at once by `crictl pull`, with and without Tidepool on either runtime
({versions}).
Links of {LINK_MIB} MiB/s into each, images of {image} MiB in {layers} layers: a plain pull takes ten seconds. Their runtimes keep
images in memory: no cell measures the disk. Two members on volumes, on a node of their own with a fast link. Nobody sets
a node's clock: a certificate that is not good yet, or not any more, is what a node with a wrong clock sees.
"#
    ))
}
