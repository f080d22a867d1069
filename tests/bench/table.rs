//! Lines of figures: who was measured, the bar, and whether it was met.

use serde_json::{Value, json};

use crate::scale::grouped;
use crate::stats::median;

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Tidepool,
    /// The better of the two below.
    Nginx,
    NginxNopush,
    NginxPush,
    NginxCache,
    Distribution,
    /// The upstream without anybody between.
    Direct,
    /// One thread that receives, hashes and writes.
    Floor,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    MibPerSecond,
    CpuPerGib,
    CpuSeconds,
    Seconds,
    Milliseconds,
    PerSecond,
    PerThousand,
    Mib,
    Bytes,
    Times,
}

/// What the figure of Tidepool has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    LeastTimes(f64, Who),
    MostTimes(f64, Who),
    /// So much more than another's.
    MostMore(f64, Who),
    Most(f64),
    /// Whatever it takes, as long as the outcome is right.
    Right,
}

/// Samples, or what went wrong instead.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    pub(crate) samples: Vec<f64>,
    pub(crate) failure: Option<String>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) bar: Option<Bar>,
    pub(crate) cells: Vec<(Who, Cell)>,
    /// Title in the plot, for lines that are in it.
    pub(crate) plot: Option<&'static str>,
}

/// What became of a bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is none, or nothing to compare with.
    None,
    Met(String),
    Missed(String),
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidepool => "Tidepool",
            Self::Nginx => "nginx",
            Self::NginxNopush => "nginx (nopush)",
            Self::NginxPush => "nginx (no nopush)",
            Self::NginxCache => "nginx as cache",
            Self::Distribution => "distribution",
            Self::Direct => "direct",
            Self::Floor => "floor",
        }
    }
}

impl Who {
    /// A name for its folder.
    pub(crate) fn folder(self) -> String {
        self.name().replace([' ', '(', ')'], "-")
    }
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MibPerSecond => "MiB/s",
            Self::CpuPerGib => "CPU s/GiB",
            Self::CpuSeconds => "CPU s",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::PerSecond => "per s",
            Self::PerThousand => "per 1000 requests",
            Self::Mib => "MiB",
            Self::Bytes => "bytes",
            Self::Times => "bytes / blob",
        }
    }

    fn more_is_better(self) -> bool {
        matches!(self, Self::MibPerSecond | Self::PerSecond)
    }

    /// A figure as the table shows it.
    pub(crate) fn show(self, figure: f64) -> String {
        match figure {
            _ if self == Self::Times => format!("{figure:.2}"),
            // Rounded; no figure here is beyond what the type holds.
            1000.0.. => grouped(figure.round() as u64),
            20.0.. => format!("{figure:.0}"),
            2.0.. => format!("{figure:.1}"),
            0.1.. => format!("{figure:.2}"),
            _ => format!("{figure:.3}"),
        }
    }
}

impl Bar {
    fn text(self, unit: Unit) -> String {
        match self {
            Self::LeastTimes(times, who) => format!("≥ {times} × {}", who.name()),
            Self::MostTimes(times, who) => format!("≤ {times} × {}", who.name()),
            Self::MostMore(more, who) => format!("≤ {} + {more} {}", who.name(), unit.name()),
            Self::Most(most) => format!("≤ {}", unit.show(most)),
            Self::Right => "right".to_owned(),
        }
    }
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, unit: Unit) -> Self {
        Self { what: what.into(), unit, bar: None, cells: Vec::new(), plot: None }
    }

    pub(crate) fn bar(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self
    }

    pub(crate) fn plot(mut self, title: &'static str) -> Self {
        self.plot = Some(title);
        self
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, who: Who, sample: f64) {
        self.cell(who).samples.push(sample);
    }

    /// Notes that somebody failed; the first failure stays.
    pub(crate) fn fail(&mut self, who: Who, failure: impl Into<String>) {
        self.cell(who).failure.get_or_insert(failure.into());
    }

    fn cell(&mut self, who: Who) -> &mut Cell {
        let at = self.cells.iter().position(|(other, _)| *other == who).unwrap_or_else(|| {
            self.cells.push((who, Cell::default()));
            self.cells.len() - 1
        });
        &mut self.cells[at].1
    }

    fn find(&self, who: Who) -> Option<&Cell> {
        self.cells.iter().find(|(other, _)| *other == who).map(|(_, cell)| cell)
    }

    pub(crate) fn median(&self, who: Who) -> Option<f64> {
        if who == Who::Nginx {
            let (a, b) = (self.median(Who::NginxNopush), self.median(Who::NginxPush));
            return Some(if self.unit.more_is_better() { a?.max(b?) } else { a?.min(b?) });
        }
        median(&self.find(who)?.samples)
    }

    /// Whether Tidepool did what it has to.
    pub(crate) fn verdict(&self) -> Verdict {
        if let Some(failure) = self.find(Who::Tidepool).and_then(|cell| cell.failure.as_ref()) {
            return Verdict::Missed(failure.clone());
        }
        let (Some(bar), Some(ours)) = (self.bar, self.median(Who::Tidepool)) else { return Verdict::None };
        let (met, text) = match bar {
            Bar::Most(most) => (ours <= most, String::new()),
            Bar::Right => (true, String::new()),
            Bar::MostMore(more, who) => match self.median(who) {
                Some(theirs) => (ours <= theirs + more, format!("+ {}", self.unit.show((ours - theirs).max(0.0)))),
                None => return Verdict::None,
            },
            Bar::LeastTimes(times, who) | Bar::MostTimes(times, who) => {
                let Some(theirs) = self.median(who).filter(|theirs| *theirs > 0.0) else { return Verdict::None };
                let ratio = ours / theirs;
                let met = if matches!(bar, Bar::LeastTimes(..)) { ratio >= times } else { ratio <= times };
                (met, format!("{ratio:.2} ×"))
            }
        };
        if met { Verdict::Met(text) } else { Verdict::Missed(text) }
    }

    /// A cell as the table shows it.
    pub(crate) fn show(&self, who: Who) -> String {
        let failure = self.find(who).and_then(|cell| cell.failure.clone());
        failure.or_else(|| self.median(who).map(|figure| self.unit.show(figure))).unwrap_or_default()
    }

    fn markdown(&self) -> String {
        let verdict = match self.verdict() {
            Verdict::None => String::new(),
            Verdict::Met(text) if text.is_empty() => "met".to_owned(),
            Verdict::Met(text) => text,
            Verdict::Missed(text) => format!("**missed** {text}"),
        };
        // The floor and direct access never meet in one line.
        let limit = [Who::Direct, Who::Floor].map(|who| self.show(who)).concat();
        let cells =
            [Who::Tidepool, Who::Nginx, Who::NginxCache, Who::Distribution].map(|who| self.show(who)).join(" | ");
        let bar = self.bar.map_or(String::new(), |bar| bar.text(self.unit));
        format!("| {}, {} | {cells} | {limit} | {bar} | {} |", self.what, self.unit.name(), verdict.trim())
    }

    pub(crate) fn json(&self) -> Value {
        let cells = self.cells.iter().map(|(who, cell)| {
            json!({"who": who.name(), "median": median(&cell.samples), "samples": cell.samples, "failure": cell.failure})
        });
        let missed = matches!(self.verdict(), Verdict::Missed(_));
        let bar = self.bar.map(|bar| bar.text(self.unit));
        json!({"what": self.what, "unit": self.unit.name(), "bar": bar, "missed": missed, "cells": cells.collect::<Vec<_>>()})
    }
}

/// All lines as one table.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let head = "| | Tidepool | nginx | nginx as cache | distribution | direct, floor | bar | result |\n|---|---|---|---|---|---|---|---|\n";
    lines.iter().fold(head.to_owned(), |table, line| table + &line.markdown() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bar: Bar, unit: Unit) -> Line {
        let mut line = Line::new("it", unit).bar(bar);
        [90.0, 80.0, 100.0].into_iter().for_each(|sample| line.add(Who::Tidepool, sample));
        line.add(Who::NginxNopush, 60.0);
        line.add(Who::NginxPush, 120.0);
        line
    }

    #[test]
    fn nginx_is_the_better_of_its_two_configurations() {
        let bar = Bar::LeastTimes(0.9, Who::Nginx);
        assert_eq!(line(bar, Unit::PerSecond).median(Who::Nginx), Some(120.0));
        assert_eq!(line(bar, Unit::CpuPerGib).median(Who::Nginx), Some(60.0));
    }

    #[test]
    fn a_bar_is_met_or_missed_by_the_median() {
        let verdict = |bar, unit| line(bar, unit).verdict();
        let nginx = Who::Nginx;
        assert_eq!(verdict(Bar::LeastTimes(0.75, nginx), Unit::PerSecond), Verdict::Met("0.75 ×".into()));
        assert_eq!(verdict(Bar::LeastTimes(0.9, nginx), Unit::PerSecond), Verdict::Missed("0.75 ×".into()));
        assert_eq!(verdict(Bar::MostTimes(1.1, nginx), Unit::CpuPerGib), Verdict::Missed("1.50 ×".into()));
        assert_eq!(verdict(Bar::MostMore(29.0, nginx), Unit::Milliseconds), Verdict::Missed("+ 30".into()));
        assert_eq!(verdict(Bar::Most(90.0), Unit::Mib), Verdict::Met(String::new()));
        assert_eq!(verdict(Bar::Most(89.0), Unit::Mib), Verdict::Missed(String::new()));
        assert_eq!(verdict(Bar::MostTimes(1.0, Who::Floor), Unit::Mib), Verdict::None, "nothing to compare with");
    }

    #[test]
    fn who_fails_meets_no_bar() {
        let mut line = line(Bar::Most(1000.0), Unit::Seconds);
        line.fail(Who::Tidepool, "wrong bytes");
        assert_eq!(line.verdict(), Verdict::Missed("wrong bytes".into()));
        line.fail(Who::Distribution, "no answer");
        assert_eq!(
            line.markdown(),
            "| it, s | wrong bytes | 60 |  | no answer |  | ≤ 1,000 | **missed** wrong bytes |"
        );
    }

    #[test]
    fn figures_have_two_or_three_digits() {
        for (figure, text) in
            [(0.0, "0.000"), (0.0123, "0.012"), (0.5, "0.50"), (4.26, "4.3"), (97.3, "97"), (97_300.0, "97,300")]
        {
            assert_eq!(Unit::Seconds.show(figure), text);
        }
    }
}
