//! Lines of figures: who was measured, the bar, and whether it was met.

use serde::{Deserialize, Serialize};

use crate::pull::Got;
use crate::scale::grouped;
use crate::stats::median;

/// As many samples as a figure has unless it says otherwise.
pub(crate) const USUAL: usize = 5;

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Bar {
    LeastTimes(f64, Who),
    MostTimes(f64, Who),
    /// So much more than another's.
    MostMore(f64, Who),
    Most(f64),
    /// Whatever it takes, as long as the outcome is right.
    Right,
}

/// Somebody's samples, or what went wrong instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) who: Who,
    pub(crate) samples: Vec<f64>,
    pub(crate) failure: Option<String>,
    /// Bytes that a client took for right were not.
    pub(crate) wrong: bool,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) bar: Option<Bar>,
    pub(crate) cells: Vec<Cell>,
    /// Title in the plot, for lines that are in it.
    pub(crate) plot: Option<String>,
}

/// What became of a bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is none.
    None,
    /// Tidepool has no figure, or nobody has one to compare it with.
    NotMeasured,
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

    /// Or less is.
    pub(crate) fn more_is_better(self) -> bool {
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

    pub(crate) fn plot(mut self, title: &str) -> Self {
        self.plot = Some(title.to_owned());
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

    /// The same where a client was given wrong bytes and could not know.
    pub(crate) fn wrong(&mut self, who: Who, failure: impl Into<String>) {
        self.cell(who).wrong = true;
        self.fail(who, failure);
    }

    /// Whether a pull gave the right bytes; what else it gave is noted.
    pub(crate) fn judge(&mut self, who: Who, got: &Got, digest: &str) -> bool {
        match got.verdict(digest).as_str() {
            "right" => return true,
            "wrong bytes" => self.wrong(who, "wrong bytes"),
            verdict => self.fail(who, verdict),
        }
        false
    }

    /// Whether this product gave away wrong bytes.
    pub(crate) fn is_wrong(&self) -> bool {
        self.find(Who::Tidepool).is_some_and(|cell| cell.wrong)
    }

    fn cell(&mut self, who: Who) -> &mut Cell {
        let at = self.cells.iter().position(|cell| cell.who == who).unwrap_or_else(|| {
            self.cells.push(Cell { who, samples: Vec::new(), failure: None, wrong: false });
            self.cells.len() - 1
        });
        &mut self.cells[at]
    }

    fn find(&self, who: Who) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.who == who)
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
        let Some(bar) = self.bar else { return Verdict::None };
        if let Some(failure) = self.find(Who::Tidepool).and_then(|cell| cell.failure.as_ref()) {
            return Verdict::Missed(failure.clone());
        }
        self.median(Who::Tidepool).and_then(|ours| self.compare(bar, ours)).unwrap_or(Verdict::NotMeasured)
    }

    /// None where there is nothing to compare with.
    fn compare(&self, bar: Bar, ours: f64) -> Option<Verdict> {
        let (met, text) = match bar {
            Bar::Most(most) => (ours <= most, String::new()),
            Bar::Right => (true, String::new()),
            Bar::MostMore(more, who) => {
                let theirs = self.median(who)?;
                (ours <= theirs + more, format!("+ {}", self.unit.show((ours - theirs).max(0.0))))
            }
            Bar::LeastTimes(times, who) | Bar::MostTimes(times, who) => {
                let ratio = ours / self.median(who).filter(|theirs| *theirs > 0.0)?;
                let met = if matches!(bar, Bar::LeastTimes(..)) { ratio >= times } else { ratio <= times };
                (met, format!("{ratio:.2} ×"))
            }
        };
        Some(if met { Verdict::Met(text) } else { Verdict::Missed(text) })
    }

    /// How many samples are behind a figure.
    fn samples(&self, who: Who) -> usize {
        let parts = if who == Who::Nginx { [Who::NginxNopush, Who::NginxPush] } else { [who, who] };
        parts.into_iter().filter_map(|who| self.find(who)).map(|cell| cell.samples.len()).min().unwrap_or(0)
    }

    /// A cell as the table shows it.
    pub(crate) fn show(&self, who: Who) -> String {
        if let Some(failure) = self.find(who).and_then(|cell| cell.failure.clone()) {
            return failure;
        }
        match (self.median(who), self.samples(who)) {
            (None, _) => String::new(),
            (Some(figure), USUAL) => self.unit.show(figure),
            (Some(figure), samples) => format!("{} ({samples})", self.unit.show(figure)),
        }
    }

    fn markdown(&self) -> String {
        let verdict = match self.verdict() {
            Verdict::None => String::new(),
            Verdict::NotMeasured => "not measured".to_owned(),
            Verdict::Met(text) if text.is_empty() => "met".to_owned(),
            Verdict::Met(text) => format!("met {text}"),
            Verdict::Missed(text) => format!("**missed** {text}"),
        };
        // The floor and direct access never meet in one line.
        let limit = [Who::Direct, Who::Floor].map(|who| self.show(who)).concat();
        let cells =
            [Who::Tidepool, Who::Nginx, Who::NginxCache, Who::Distribution].map(|who| self.show(who)).join(" | ");
        let bar = self.bar.map_or(String::new(), |bar| bar.text(self.unit));
        format!("| {}, {} | {cells} | {limit} | {bar} | {} |", self.what, self.unit.name(), verdict.trim())
    }
}

/// How many bars were met, were missed, and could not be measured.
pub(crate) fn tally(lines: &[Line]) -> [usize; 3] {
    lines.iter().fold([0; 3], |[met, missed, unmeasured], line| match line.verdict() {
        Verdict::None => [met, missed, unmeasured],
        Verdict::Met(_) => [met + 1, missed, unmeasured],
        Verdict::Missed(_) => [met, missed + 1, unmeasured],
        Verdict::NotMeasured => [met, missed, unmeasured + 1],
    })
}

/// All lines as one table.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let head = "| | Tidepool | nginx | nginx as cache | distribution | direct, floor | bar | result |\n|---|---|---|---|---|---|---|---|\n";
    lines.iter().fold(head.to_owned(), |table, line| table + &line.markdown() + "\n")
}

#[cfg(test)]
mod tests;
