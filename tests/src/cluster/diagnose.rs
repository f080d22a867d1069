//! What went on in a cluster, for the message of a test that waited in vain.

use std::fs;

use super::{Access, Cluster};

/// The label of Tidepool's own pods.
const PRODUCT: &str = "app.kubernetes.io/name=tidepool";
/// Lines of each log, and characters of each answer of kubectl: what fits a terminal's history.
const LOG_LINES: usize = 12;
const ANSWER_CHARACTERS: usize = 6000;
/// The logs that tell why a pod or a pull failed.
const LOGS: [&str; 3] = ["containerd.log", "kubelet.log", "stand-in.log"];

impl Cluster {
    /// Nodes, pods, late Events, and the ends of logs, as text.
    pub fn diagnose(&self) -> String {
        let questions: [&[&str]; 6] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "registrymirrors,mirrornodes", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            &["logs", "-n", "tidepool-system", "-l", PRODUCT, "--prefix", "--tail=20", "--ignore-errors"],
            &["logs", "-n", "tidepool-agents", "-l", PRODUCT, "--prefix", "--tail=20", "--ignore-errors"],
        ];
        let mut text: String = questions.iter().map(|question| self.answer(question)).collect();
        if let Access::Local(local) = &self.access {
            let machines = std::iter::once(&local.state.control_plane).chain(&local.state.nodes);
            for log in machines.flat_map(|machine| LOGS.map(|name| machine.home().join(name))) {
                let contents = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = contents.lines().collect();
                let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
                if !tail.is_empty() {
                    text.push_str(&format!("--- end of {}\n{}\n", log.display(), tail.join("\n")));
                }
            }
        }
        text
    }

    fn answer(&self, question: &[&str]) -> String {
        let answer = match self.try_kubectl(question) {
            Ok(output) => output.stdout + &output.stderr,
            Err(error) => format!("{error:#}\n"),
        };
        format!("--- kubectl {}\n{}", question.join(" "), end(&answer, ANSWER_CHARACTERS))
    }
}

/// The last so many characters.
fn end(text: &str, characters: usize) -> &str {
    let from = text.char_indices().rev().nth(characters.saturating_sub(1)).map_or(0, |(index, _)| index);
    text.get(from..).unwrap_or(text)
}
