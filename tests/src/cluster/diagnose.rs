//! What went on in a cluster, for the message of a test that waited in vain.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Access, Cluster};

/// Lines of each component's log, and characters of each answer of kubectl: what fits a terminal's history.
const LOG_LINES: usize = 8;
const ANSWER_CHARACTERS: usize = 6000;

impl Cluster {
    /// Nodes, pods, late Events, and the ends of the components' logs, as text.
    pub fn diagnose(&self) -> String {
        let mut text = String::new();
        let questions: [&[&str]; 4] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "registrymirrors,mirrornodes", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ];
        for question in questions {
            let answer = match self.try_kubectl(question) {
                Ok(output) if output.success => output.stdout,
                Ok(output) => output.stderr,
                Err(error) => format!("{error:#}"),
            };
            text.push_str(&format!("--- kubectl {}\n{}\n", question.join(" "), end(&answer, ANSWER_CHARACTERS)));
        }
        if let Access::Local(local) = &self.access {
            let machines = std::iter::once(&local.state.control_plane).chain(&local.state.nodes);
            for log in machines.flat_map(|machine| logs(machine.home())) {
                let contents = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = contents.lines().collect();
                let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
                text.push_str(&format!("--- end of {}\n{}\n", log.display(), tail.join("\n")));
            }
        }
        text
    }
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log") && !path.ends_with("audit.log");
    let mut logs: Vec<PathBuf> = entries.filter(ours).collect();
    logs.sort();
    logs
}

/// The last so many characters.
fn end(text: &str, characters: usize) -> &str {
    let from = text.char_indices().rev().nth(characters.saturating_sub(1)).map_or(0, |(index, _)| index);
    text.get(from..).unwrap_or(text)
}
