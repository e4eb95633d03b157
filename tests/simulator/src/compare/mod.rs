//! What ways of tracking hold and lose: the same flows and the same changes of the pool, given to each of them.
//!
//! The workload is of the kind that the paper on JET uses (Mendelson et al., "Load balancing with JET: Just Enough Tracking for
//! connection consistency", CoNEXT 2021): many short flows and a few very long ones, over a pool that is scaled, updated or
//! hit by a failure. All ways go by the same Maglev table, drlb's.

mod drlb;
mod lru;
mod others;
mod pool;
mod workload;

use lb_common::track::pin::Moment;
use lb_common::track::signal::Signal;

pub use pool::Scenario;

/// A packet of a flow, as it comes to a balancer.
#[derive(Clone, Copy, Debug)]
struct Packet {
    /// The flow, by a number of its own.
    flow: u64,
    /// Its slot.
    slot: u32,
    /// What the packet says of the flow.
    signal: Signal,
}

/// A way of tracking.
trait Tracking {
    /// What it is, in a few words.
    fn name(&self) -> String;
    /// The pool has changed: the new table, and who can be reached (up or draining), by index.
    fn pool_changed(&mut self, table: &[u16], up: &[bool], now: u64);
    /// The backend that a packet takes.
    fn packet(&mut self, packet: &Packet, now: u64) -> u16;
    /// A second has passed.
    fn second(&mut self, now: u64);
    /// The flows that it holds now.
    fn pins(&self) -> usize;
}

fn moment(milliseconds: u64) -> Moment {
    Moment::from_nanos(milliseconds * 1_000_000)
}

/// How a way of tracking did.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The way.
    pub name: String,
    /// Flows that it held, the mean over all seconds.
    pub mean_pins: f64,
    /// The most flows that it held.
    pub most_pins: usize,
    /// Flows that it sent to another backend although theirs was up or draining.
    pub broken: usize,
    /// Flows that were at a backend when that died, or was restarted at the end of its draining.
    pub died: usize,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Flows in it, without those of a flood.
    pub flows: usize,
    /// Flows at the same time, the mean over all seconds.
    pub at_once: f64,
    /// Each way of tracking.
    pub scores: Vec<Score>,
}

/// Runs a scenario with so many new flows a second. The same seed gives the same outcome.
#[must_use]
pub fn run(scenario: Scenario, rate: u32, seed: u64) -> Outcome {
    let at_once = workload::at_once(rate);
    let ways: Vec<Box<dyn Tracking>> = vec![
        Box::new(others::Stateless::default()),
        Box::new(others::CpuLru::new("Maglev + LRU, room for ten times the flows", at_once * 10)),
        Box::new(others::CpuLru::new("Maglev + LRU, room for twice the flows", at_once * 2)),
        Box::new(others::CpuLru::new("Maglev + LRU, room for a quarter of the flows", at_once / 4)),
        Box::new(others::Full::default()),
        Box::new(drlb::JustEnough::new("drlb, idle time 300 s", 300, at_once * 2)),
        Box::new(drlb::JustEnough::new("drlb, idle time 60 s", 60, at_once * 2)),
    ];
    workload::run(scenario, rate, seed, ways)
}

/// The outcome as a table in Markdown.
#[must_use]
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "| Tracking | flows held, mean | flows held, most | flows broken | died with their backend |\n\
         |---|--:|--:|--:|--:|\n",
    );
    for score in &outcome.scores {
        let Score { name, mean_pins, most_pins, broken, died } = score;
        text.push_str(&format!("| {name} | {mean_pins:.0} | {most_pins} | {broken} | {died} |\n"));
    }
    text
}
