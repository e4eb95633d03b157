//! What a packet costs: the XDP program against floors, programs that do a part of its work, and against any other pinned XDP
//! program, in one run. See `docs/performance.md`.

mod cases;
mod measure;
mod report;
mod tables;
mod wire;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::cases::Case;
use crate::measure::{Bench, Builds, Rounds};
use crate::report::Report;

/// Measures what a packet costs, by BPF_PROG_TEST_RUN.
///
/// A driver program makes each packet of the one before, with the next flow, and calls the program that is measured; what the
/// driver costs by itself is taken off. The programs take turns in each round, so that what else the machine does meets all of
/// them. Compare figures of one run only.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Measure frames over a veth, end to end, instead: `cargo xtask bench wire`.
    #[arg(long, hide = true)]
    wire: bool,
    /// Only the cases whose name holds this.
    #[arg(long)]
    case: Option<String>,
    /// Rounds of each case.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Packets of a round.
    #[arg(long, default_value_t = 500_000)]
    packets: u32,
    /// Put another XDP program, which is pinned there, into the run: NAME=PATH. It must have XDP frags, as ours has.
    #[arg(long, value_name = "NAME=PATH", value_parser = named)]
    pinned: Vec<(String, PathBuf)>,
    /// Measure the program of this object in place of the one that drlb ships, as one that some step is left out of.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Measure another build of our program beside it, in which some step is left out: NAME=FILE.
    #[arg(long, value_name = "NAME=FILE", value_parser = named, hide = true)]
    without: Vec<(String, PathBuf)>,
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Compare with the JSON of an earlier run, by the ratios to floor c.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write it as NAME=PATH")?;
    Ok((name.to_owned(), path.into()))
}

fn main() -> Result<()> {
    let options = Options::parse();
    let earlier = options.compare.as_deref().map(Report::read).transpose()?;
    let rounds = Rounds { rounds: options.rounds.max(1), packets: options.packets.max(1) };
    let builds = Builds { ours: options.program, without: options.without };
    if options.wire {
        return wire::run(&builds, rounds);
    }
    let mut cases = Case::all();
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    cases.retain(|case| options.case.as_ref().is_none_or(|part| case.name.contains(part)));
    ensure!(!cases.is_empty(), "no case has that in its name; there are: {}", names.join("; "));
    let mut bench = Bench::load(builds, &options.pinned).context("cannot load the programs")?;
    let mut report = Report { instructions: bench.instructions()?, rows: Vec::new() };
    report::header(&report, bench.names());
    for case in &cases {
        let row = bench.measure(case, rounds).with_context(|| format!("case `{}`", case.name))?;
        report::print(&row);
        report.rows.push(row);
    }
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if let Some(path) = &options.svg {
        report.plot(path)?;
    }
    if let Some(earlier) = &earlier {
        report.compare(earlier);
    }
    Ok(())
}
