//! Prints what ways of tracking hold and lose, as tables in Markdown for `docs/tracking.md`.

use clap::Parser;
use drlb_simulator::compare::{self, Scenario};

/// Compares ways of tracking flows through changes of a pool, by simulation.
#[derive(Parser)]
struct Args {
    /// New flows a second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// The seed of all that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let args = Args::parse();
    for scenario in Scenario::ALL {
        let outcome = compare::run(scenario, args.rate, args.seed);
        println!("{}. {} flows, {:.0} at once.\n", scenario.title(), outcome.flows, outcome.at_once);
        println!("{}", compare::table(&outcome));
    }
}
