//! The matrix as a table in Markdown.

use super::{Cell, Expect, Outcome, Pull, Verdict, judge};
use crate::Containerd;

/// A state and what was measured in it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name, for commands.
    pub name: String,
    /// What is broken.
    pub title: String,
    /// What must be true of it.
    pub expect: Expect,
    /// The pulls that were made; those that make no sense in this state are missing.
    pub cells: Vec<Cell>,
    /// What kept the rest from being measured: the cluster did not come back, say.
    pub trouble: Option<String>,
}

impl Row {
    /// The cells that break the promise, each with the reason.
    pub fn broken(&self) -> Vec<(&Cell, String)> {
        let why = |cell| match judge(cell, self.expect) {
            Verdict::Broken(why) => Some((cell, why)),
            Verdict::Kept => None,
        };
        self.cells.iter().filter_map(why).collect()
    }
}

/// The columns: each pull on either runtime.
fn columns() -> impl Iterator<Item = (Pull, Containerd)> {
    Pull::ALL.into_iter().flat_map(|pull| [Containerd::V2_4, Containerd::V1_7].map(|runtime| (pull, runtime)))
}

/// All rows as a table.
pub fn table(rows: &[Row]) -> String {
    let heads: Vec<String> =
        columns().map(|(pull, runtime)| format!("{}, {}", pull.word(), version(runtime))).collect();
    let mut text = format!("| state | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let short = if row.cells.is_empty() { "**not measured**" } else { "**not all of it measured**" };
        let title = row.trouble.as_ref().map_or(row.title.clone(), |_| format!("{}; {short}", row.title));
        let cells: Vec<String> = columns().map(|(pull, runtime)| shown(row, pull, runtime)).collect();
        text.push_str(&format!("| {title} (`{}`) | {} |\n", row.name, cells.join(" | ")));
    }
    text
}

/// A version of containerd as people say it.
pub fn version(runtime: Containerd) -> &'static str {
    match runtime {
        Containerd::V2_4 => "2.4",
        Containerd::V1_7 => "1.7",
    }
}

fn shown(row: &Row, pull: Pull, runtime: Containerd) -> String {
    let Some(cell) = row.cells.iter().find(|cell| cell.pull == pull && cell.runtime == runtime) else {
        return "-".to_owned();
    };
    let times = format!("{} / {}", ended(cell.with), ended(cell.plain));
    match judge(cell, row.expect) {
        Verdict::Kept => format!("{times}{}", way(cell)),
        Verdict::Broken(_) => format!("**{times}{}, BROKEN**", way(cell)),
    }
}

fn ended(outcome: Outcome) -> String {
    match outcome {
        Outcome::Pulled(after) => format!("{:.1} s", after.as_secs_f64()),
        Outcome::Failed(after) => format!("fails after {:.1} s", after.as_secs_f64()),
        Outcome::Hung(after) => format!("> {} s", after.as_secs()),
    }
}

/// How much of it came through the mirror, where it came.
fn way(cell: &Cell) -> String {
    match cell.with {
        Outcome::Pulled(_) => format!(", {:.0} %", (cell.through * 100.0).clamp(0.0, 100.0)),
        Outcome::Failed(_) | Outcome::Hung(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_shows_times_the_way_and_what_is_broken() {
        let pulled = |s| Outcome::Pulled(Duration::from_secs(s));
        let cell = |pull, with| {
            let plain = pulled(10);
            let (usual, carried) = (Duration::from_secs(10), Duration::ZERO);
            Cell { runtime: Containerd::V1_7, pull, with, plain, through: 0.25, carried, usual }
        };
        let hung = Outcome::Hung(Duration::from_secs(60));
        let cells = vec![cell(Pull::Cold, pulled(11)), cell(Pull::Running, hung)];
        let (name, title) = ("some".to_owned(), "something".to_owned());
        let row = Row { name, title, expect: Expect::Either, cells, trouble: None };
        assert_eq!(row.broken().len(), 1);
        let text = table(&[row]);
        let wanted = "| something (`some`) | - | 11.0 s / 10.0 s, 25 % | - | - | - | **> 60 s / 10.0 s, BROKEN** |";
        assert_eq!(text.lines().last(), Some(wanted), "{text}");
    }
}
