//! What a run found, and where it is shown.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::machine;
use crate::plot;
use crate::table::{self, Line, Verdict};
use crate::usage::{machine_cpu, own_cpu};

const BEGIN: &str = "<!-- make bench writes from here -->\n";
const END: &str = "<!-- to here -->";

/// What a reader of the table needs to know besides.
const NOTES: &str = "nginx serves plain files by sendfile, in the better of two configurations (`tcp_nopush` with chunks of 512 KiB, and \
without it); as a cache it is `proxy_cache`. The floor is one thread that receives, hashes and writes. 0.34 × nginx for tags is \
twice what zot reached beside nginx in a run by hand: 16,400 a second where nginx had 97,300. The upstream, the clients and what \
is measured share the machine.\n";

/// Lines so far, and what else the reader should know.
#[derive(Debug)]
pub(crate) struct Report {
    lines: Vec<Line>,
    /// Rows that could not be measured, and why.
    pub(crate) broken: Vec<String>,
    command: &'static str,
    /// CPU seconds of the machine and of this process when the run began.
    started: (Option<f64>, f64),
    clock: std::time::Instant,
    subjects: f64,
}

impl Report {
    pub(crate) fn new(command: &'static str) -> Self {
        let started = (machine_cpu(), own_cpu());
        Self {
            lines: Vec::new(),
            broken: Vec::new(),
            command,
            started,
            clock: std::time::Instant::now(),
            subjects: 0.0,
        }
    }

    /// Takes a line, and shows it at once to who waits.
    pub(crate) fn push(&mut self, line: Line) {
        let shown = line.cells.iter().map(|(who, _)| format!("{} {}", who.name(), line.show(*who)));
        let mark = if matches!(line.verdict(), Verdict::Missed(_)) { "MISSED " } else { "" };
        eprintln!("  {mark}{} ({}): {}", line.what, line.unit.name(), shown.collect::<Vec<_>>().join(", "));
        self.lines.push(line);
    }

    /// Notes the CPU seconds of a subject that ends.
    pub(crate) fn used(&mut self, cpu: f64) {
        self.subjects += cpu;
    }

    pub(crate) fn markdown(&self) -> String {
        let missed = self.lines.iter().filter(|line| matches!(line.verdict(), Verdict::Missed(_))).count();
        let barred = self.lines.iter().filter(|line| line.bar.is_some()).count();
        let broken: String = self.broken.iter().map(|why| format!("\nNot measured: {why}\n")).collect();
        format!(
            "`{}`, {}, on {}: medians, all peers in one run on loopback, {:.0} minutes; other work took {} of the machine. {} of {} bars are met.\n\n{}\n{NOTES}{broken}",
            self.command,
            machine::today(),
            machine::describe(),
            self.clock.elapsed().as_secs_f64() / 60.0,
            self.other_work(),
            barred - missed.min(barred),
            barred,
            table::markdown(&self.lines),
        )
    }

    /// How much of the machine went to neither this process nor its subjects.
    fn other_work(&self) -> String {
        let (Some(before), Some(after)) = (self.started.0, machine_cpu()) else { return "?".to_owned() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let all = self.clock.elapsed().as_secs_f64() * crate::storm::precise(cores as u64);
        let other = after - before - (own_cpu() - self.started.1) - self.subjects;
        format!("{:.0} %", (100.0 * other / all).max(0.0))
    }

    /// Writes every sample.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let lines: Vec<_> = self.lines.iter().map(Line::json).collect();
        let text = json!({"command": self.command, "date": machine::today(), "machine": machine::describe(), "otherWork": self.other_work(), "lines": lines, "broken": self.broken});
        fs::write(path, format!("{text:#}\n")).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes the table into the README, between its marks, and the plot beside the other texts.
    pub(crate) fn write_texts(&self, repository: &Path) -> Result<()> {
        plot::write(&self.lines, &repository.join("docs/bench.svg"))?;
        let readme = repository.join("README.md");
        let text = fs::read_to_string(&readme).context("cannot read the README")?;
        let table = format!("{}\n![The figures that matter most, as bars](docs/bench.svg)\n", self.markdown());
        let text = between_marks(&text, &table).context("the README has lost the marks of the table")?;
        fs::write(&readme, text).context("cannot write the README")
    }
}

fn between_marks(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = between_marks(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert_eq!(between_marks("a", "new"), None);
    }

    #[test]
    fn the_readme_has_the_marks() {
        let readme = fs::read_to_string(tidepool_tests::repository().join("README.md")).unwrap();
        assert!(between_marks(&readme, "").is_some());
    }
}
