//! What a run found, and where it is shown.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::machine;
use crate::plot;
use crate::table::{self, Line, USUAL, Verdict, Who};
use crate::usage::{machine_cpu, own_cpu};

const BEGIN: &str = "<!-- make bench writes from here -->\n";
const END: &str = "<!-- to here -->";

/// What a reader of the table needs to know besides.
const NOTES: &str = "nginx serves plain files by sendfile, in the better of two configurations (`tcp_nopush` with chunks of 512 KiB, and \
without it); as a cache it is `proxy_cache`. The floor is one thread that receives, hashes and writes. 0.34 × nginx for tags is \
twice what zot reached beside nginx in a run by hand: 16,400 a second where nginx had 97,300. The upstream, the clients and what \
is measured share the machine.\n\nA registry that says 401 or 403 is not in the line of tags that are not kept: Docker Hub, GHCR and \
Quay say so of repositories that do not exist, so Tidepool answers 404 there, and the client asks the registry itself or ends.\n";

/// What a run found: all that the README and the plot are made of, and the file of a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    command: String,
    /// Whether rows were left out.
    partial: bool,
    date: String,
    machine: String,
    minutes: f64,
    /// How much of the machine went to neither this process nor its subjects.
    other_work: String,
    lines: Vec<Line>,
    /// Rows that could not be measured, and wrong bytes of Tidepool.
    pub(crate) broken: Vec<String>,
}

/// What was found so far, and the clocks of a run.
#[derive(Debug)]
pub(crate) struct Report {
    found: Found,
    /// CPU seconds of the machine and of this process when the run began.
    started: (Option<f64>, f64),
    clock: std::time::Instant,
    subjects: f64,
}

impl Report {
    pub(crate) fn new(command: &str, partial: bool) -> Self {
        let found = Found {
            command: command.to_owned(),
            partial,
            date: machine::today(),
            machine: machine::describe(),
            minutes: 0.0,
            other_work: String::new(),
            lines: Vec::new(),
            broken: Vec::new(),
        };
        Self { found, started: (machine_cpu(), own_cpu()), clock: std::time::Instant::now(), subjects: 0.0 }
    }

    /// Takes a line, and shows it at once to who waits.
    pub(crate) fn push(&mut self, line: Line) {
        let shown = line.cells.iter().map(|cell| format!("{} {}", cell.who.name(), line.show(cell.who)));
        let mark = match line.verdict() {
            Verdict::Missed(_) => "MISSED ",
            Verdict::NotMeasured => "NOT MEASURED ",
            Verdict::Met(_) | Verdict::None => "",
        };
        eprintln!("  {mark}{} ({}): {}", line.what, line.unit.name(), shown.collect::<Vec<_>>().join(", "));
        if line.is_wrong() {
            self.broken(format!("{}: Tidepool: {}", line.what, line.show(Who::Tidepool)));
        }
        self.found.lines.push(line);
    }

    /// Notes what makes the run a failure: rows that nobody could measure, wrong bytes.
    pub(crate) fn broken(&mut self, why: String) {
        self.found.broken.push(why);
    }

    /// Notes the CPU seconds of a subject that ends.
    pub(crate) fn used(&mut self, cpu: f64) {
        self.subjects += cpu;
    }

    /// The end of the run.
    pub(crate) fn finish(mut self) -> Found {
        self.found.minutes = self.clock.elapsed().as_secs_f64() / 60.0;
        self.found.other_work = self.other_work();
        self.found
    }

    fn other_work(&self) -> String {
        let (Some(before), Some(after)) = (self.started.0, machine_cpu()) else { return "?".to_owned() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let all = self.clock.elapsed().as_secs_f64() * crate::storm::precise(cores as u64);
        let other = after - before - (own_cpu() - self.started.1) - self.subjects;
        format!("{:.0} %", (100.0 * other / all).max(0.0))
    }
}

impl Found {
    /// What an earlier run wrote.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not of a run", path.display()))
    }

    /// Writes every sample.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write figures as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn markdown(&self) -> String {
        let broken: String = self.broken.iter().map(|why| format!("\nBroken: {why}\n")).collect();
        let [met, missed, unmeasured] = table::tally(&self.lines);
        format!(
            "`{}`, {}, on {}: all peers in one run on loopback, {:.0} minutes; other work took {} of the machine. Medians of {USUAL} samples, or of as many as stand in brackets. Bars: {met} met, {missed} missed, {unmeasured} not measured.\n\n{}\n{NOTES}{broken}",
            self.command,
            self.date,
            self.machine,
            self.minutes,
            self.other_work,
            table::markdown(&self.lines),
        )
    }

    /// Writes the table into the README, between its marks, and the plot beside the other texts.
    pub(crate) fn write_texts(&self, repository: &Path) -> Result<()> {
        ensure!(!self.partial, "a run of some rows is no table for the README");
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
    use crate::table::{Bar, Unit};

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = between_marks(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert_eq!(between_marks("a", "new"), None);
    }

    #[test]
    fn a_run_can_be_read_again_and_wrong_bytes_of_ours_break_it() {
        let mut report = Report::new("make bench", false);
        let mut line = Line::new("it", Unit::Seconds).bar(Bar::MostTimes(0.1 + 0.2, Who::Direct)).plot("it");
        line.add(Who::Direct, 1.0 / 3.0);
        line.wrong(Who::Distribution, "wrong bytes");
        report.push(line.clone());
        assert!(report.found.broken.is_empty(), "rivals' bytes are figures");
        line.wrong(Who::Tidepool, "wrong bytes");
        report.push(line);
        let (found, dir) = (report.finish(), tempfile::tempdir().unwrap());
        assert_eq!(found.broken, ["it: Tidepool: wrong bytes"]);
        let file = dir.path().join("bench.json");
        found.write_json(&file).unwrap();
        let again = Found::read(&file).unwrap();
        assert_eq!((&again.lines, again.markdown()), (&found.lines, found.markdown()));
    }

    #[test]
    fn some_rows_are_no_table_for_the_readme() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Report::new("make bench", true).finish().write_texts(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("some rows"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_readme_has_the_marks() {
        let readme = fs::read_to_string(tidepool_tests::repository().join("README.md")).unwrap();
        assert!(between_marks(&readme, "").is_some());
    }
}
