//! The lines that matter most as bars, one panel each, in its own unit.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::table::{Line, Who};

const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (320, 210);
const WHO: [(Who, RGBColor); 6] = [
    (Who::Tidepool, RGBColor(0, 109, 119)),
    (Who::Nginx, RGBColor(131, 160, 170)),
    (Who::NginxCache, RGBColor(175, 190, 196)),
    (Who::Distribution, RGBColor(226, 149, 120)),
    (Who::Direct, RGBColor(120, 120, 120)),
    (Who::Floor, RGBColor(160, 160, 160)),
];

/// Writes the plot.
pub(crate) fn write(lines: &[Line], path: &Path) -> Result<()> {
    let chosen: Vec<_> = lines.iter().filter_map(|line| Some((line.plot.as_deref()?, line))).collect();
    let rows = chosen.len().div_ceil(COLUMNS).max(1);
    let width = PANEL.0 * u32::try_from(COLUMNS)?;
    let root = SVGBackend::new(path, (width, PANEL.1 * u32::try_from(rows)?)).into_drawing_area();
    root.fill(&WHITE).map_err(broken)?;
    for ((title, line), area) in chosen.iter().zip(root.split_evenly((rows, COLUMNS))) {
        panel(&area, title, line)?;
    }
    root.present().map_err(broken)
}

fn panel(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, title: &str, line: &Line) -> Result<()> {
    let better = if line.unit.more_is_better() { "more is better" } else { "less is better" };
    let area = area.titled(&format!("{title}, {} ({better})", line.unit.name()), ("sans-serif", 14)).map_err(broken)?;
    // Who failed has no bar, but a word.
    let shown = |who: Who| (!line.show(who).is_empty()).then(|| (line.median(who).unwrap_or(0.0), line.show(who)));
    let bars: Vec<_> = WHO.iter().filter_map(|(who, colour)| Some((who, colour, shown(*who)?))).collect();
    let most = bars.iter().map(|(_, _, (figure, _))| *figure).fold(f64::MIN_POSITIVE, f64::max);
    let count = crate::storm::precise(bars.len().max(1) as u64);
    // Room on the left for names, on the right for figures.
    let mut chart =
        ChartBuilder::on(&area).margin(6).build_cartesian_2d(-0.62 * most..1.3 * most, 0.0..count).map_err(broken)?;
    for (row, (who, colour, (figure, shown))) in (0..).zip(bars) {
        let top = count - f64::from(row);
        let bar = Rectangle::new([(0.0, top - 0.82), (figure, top - 0.18)], colour.filled());
        chart.draw_series([bar]).map_err(broken)?;
        let named = Text::new(who.name(), (-0.6 * most, top - 0.4), ("sans-serif", 13));
        let shown = Text::new(shown, (figure + 0.02 * most, top - 0.4), ("sans-serif", 13));
        chart.draw_series([named]).map_err(broken)?;
        chart.draw_series([shown]).map_err(broken)?;
    }
    Ok(())
}

fn broken(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot plot: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Unit;

    #[test]
    fn a_plot_shows_everybody_with_a_figure() {
        let mut line = Line::new("hot", Unit::MibPerSecond).plot("hot blob");
        line.add(Who::Tidepool, 4000.0);
        line.fail(Who::Distribution, "wrong bytes");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plot.svg");
        write(&[line, Line::new("not in it", Unit::Mib)], &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        for word in ["hot blob", "more is better", "Tidepool", "4,000", "distribution", "wrong bytes"] {
            assert!(text.contains(word), "{word}");
        }
        assert!(!text.contains("nginx") && !text.contains("not in it"));
    }
}
