//! The figures: printed, written, drawn and compared.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) instructions: Instructions,
    pub(crate) rows: Vec<Row>,
}

/// How large the program is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Instructions {
    /// Instructions that the kernel has.
    pub(crate) program: u32,
    /// Instructions that the verifier processed.
    pub(crate) verified: u32,
}

/// A case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    /// What the driver costs, in nanoseconds a packet.
    pub(crate) driver: f64,
    /// What each program costs.
    pub(crate) costs: Vec<(String, Cost)>,
}

/// What a program costs, in nanoseconds a packet, net of the driver's minimum.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Cost {
    pub(crate) fn of(times: &[f64], driver: f64) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0) - driver;
        Self { min: at(0), median: at(sorted.len() / 2), max: at(sorted.len().saturating_sub(1)) }
    }
}

impl Row {
    fn cost(&self, name: &str) -> Option<Cost> {
        self.costs.iter().find(|(known, _)| known == name).map(|(_, cost)| *cost)
    }

    /// How a program's minimum compares with floor c's.
    fn ratio(&self, name: &str) -> Option<f64> {
        let floor = self.cost("floor c")?.min;
        (floor > 0.0).then(|| self.cost(name).map(|cost| cost.min / floor))?
    }
}

pub(crate) fn header(report: &Report, names: Vec<String>) {
    let Instructions { program, verified } = report.instructions;
    println!("drlb: {program} instructions, {verified} verified.");
    println!("Nanoseconds a packet, net of the driver: minimum (median, maximum), and the ratio to floor c.");
    println!("Programs: {}", names.join(", "));
}

pub(crate) fn print(row: &Row) {
    println!("\n{} (driver {:.0})", row.case, row.driver);
    for (name, Cost { min, median, max }) in &row.costs {
        let ratio = row.ratio(name).map_or(String::new(), |ratio| format!("  {ratio:5.2}"));
        println!("  {name:<16} {min:6.0} ({median:.0}, {max:.0}){ratio}");
    }
}

impl Report {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of this bench", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Ratios to floor c, then and now: those can be compared between runs, where nanoseconds cannot.
    pub(crate) fn compare(&self, earlier: &Self) {
        println!("\ndrlb's ratio to floor c, earlier and now:");
        for row in &self.rows {
            let before = earlier.rows.iter().find(|known| known.case == row.case).and_then(|row| row.ratio("drlb"));
            if let (Some(before), Some(now)) = (before, row.ratio("drlb")) {
                println!("  {:<32} {before:5.2}  {now:5.2}  {:+.0} %", row.case, (now / before - 1.0) * 100.0);
            }
        }
        let (before, now) = (earlier.instructions, self.instructions);
        println!(
            "  instructions {} → {}, verified {} → {}",
            before.program, now.program, before.verified, now.verified
        );
    }

    /// Bars of the minima, a group for each case.
    pub(crate) fn plot(&self, path: &Path) -> Result<()> {
        const BAR: f64 = 12.0;
        const GAP: f64 = 14.0;
        const LEFT: f64 = 230.0;
        const WIDTH: f64 = 860.0;
        const COLOURS: &[&str] = &["#bbbbbb", "#999999", "#4878a8", "#88a8c8", "#c04830", "#706030", "#508050"];
        let most = self.rows.iter().flat_map(|row| &row.costs).map(|(_, cost)| cost.min).fold(1.0, f64::max);
        let mut bars = String::new();
        let mut y = 30.0;
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            let middle = y + BAR * row.costs.len() as f64 / 2.0 + 4.0;
            writeln!(bars, r#"<text x="{}" y="{middle}" text-anchor="end">{}</text>"#, LEFT - 8.0, row.case)?;
            for (name, cost) in &row.costs {
                let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                let (colour, length) =
                    (COLOURS[index % COLOURS.len()], cost.min.max(0.0) / most * (WIDTH - LEFT - 60.0));
                writeln!(
                    bars,
                    r#"<rect x="{LEFT}" y="{y}" width="{length:.1}" height="{}" fill="{colour}"/><text x="{:.1}" y="{:.1}">{:.0}</text>"#,
                    BAR - 2.0,
                    LEFT + length + 4.0,
                    y + BAR - 3.0,
                    cost.min
                )?;
                y += BAR;
            }
            y += GAP;
        }
        let mut legend = String::new();
        for (index, name) in names.iter().enumerate() {
            let x = LEFT + 90.0 * index as f64;
            let colour = COLOURS[index % COLOURS.len()];
            writeln!(
                legend,
                r#"<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/><text x="{}" y="17">{name}</text>"#,
                x + 14.0
            )?;
        }
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{legend}{bars}</svg>\n"
        );
        fs::write(path, svg).with_context(|| format!("{} cannot be written", path.display()))
    }
}
