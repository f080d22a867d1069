//! The table as a document.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tidepool_tests::matrix::{Row, table};

use crate::stage::{LAYERS_MIB, LINK_MIB, PAIRS, Stage};

/// Writes the table with what it was made of; no dates, so that the same result is the same file.
pub(crate) fn write(stage: &Stage, rows: &[Row], file: &Path) -> Result<()> {
    let cells: usize = rows.iter().map(|row| row.cells.len()).sum();
    let troubled = rows.iter().filter_map(|row| Some(format!("- `{}`: {}.\n", row.name, row.trouble.as_ref()?)));
    let broken: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            row.broken()
                .into_iter()
                .map(|(cell, why)| format!("- `{}`, {}, {:?}: {why}.\n", row.name, cell.pull.word(), cell.runtime))
        })
        .chain(troubled)
        .collect();
    let verdict = match broken.len() {
        0 => format!("All {cells} cells keep the promise.\n"),
        some => format!("{some} of {cells} cells do not keep the promise:\n\n{}", broken.concat()),
    };
    let text = format!("{}\n{verdict}\n{}", introduction(stage)?, table(rows));
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn introduction(stage: &Stage) -> Result<String> {
    let mut versions = Vec::new();
    for (node, ..) in PAIRS {
        let path = "jsonpath={.status.nodeInfo.containerRuntimeVersion}, kubelet {.status.nodeInfo.kubeletVersion}";
        versions.push(stage.cluster.kubectl(&["get", "node", &format!("node{node}"), "-o", path])?);
    }
    let image: u32 = LAYERS_MIB.iter().sum();
    Ok(format!(
        r#"# Fault matrix

Written by `make matrix`; `make matrix ONLY="member-killed upstream-hung"` measures some states and writes nothing.
`make test` measures the representative ones. `tests/suites/matrix` says how each fault is made.

What is promised: no state makes a pull fail that would have succeeded on a node without Tidepool, or makes it slower
than 1.2 times such a node's and 2 s; what the cache keeps is had when upstream is gone.

Each cell is the time of one pull by a node with Tidepool, a slash, the time of the same pull at the same moment by a
node without it, and how much of the image came through the mirror: 0 % is a pull that went around it. A pull is given up
after 60 s. *Cold*: contents that nobody pulled before, once the fault is there. *Warm*: contents that the mirror keeps.
*Running*: cold, and the fault comes after 3 s; the runtime asks for three layers at a time, so some it has yet to ask for.

Nodes: {} ({} MiB/s into each node, images of {image} MiB in {} layers, so that a plain pull takes ten seconds). Two
members, on a node of their own with a fast link, their stores on volumes. All four nodes pull at once by `crictl pull`.
"#,
        versions.join("; "),
        LINK_MIB,
        LAYERS_MIB.len() + 1,
    ))
}
