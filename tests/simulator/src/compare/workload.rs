//! The flows: when they come, how long they last and when they send.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use lb_common::hash;
use lb_common::slot::NO_BACKEND;
use lb_common::track::signal::Signal;

use super::super::explore::Dice;
use super::pool::{Pool, SLOTS, Scenario};
use super::{Outcome, Packet, Score, Tracking};

/// Seconds that a scenario lasts.
const SECONDS: u64 = 1_200;
/// From a client's first packet to its second, in milliseconds.
const ROUND_TRIP: u64 = 50;
/// Lengths of flows in seconds: a Pareto distribution, cut off at both ends.
const SHORTEST: f64 = 2.0;
const LONGEST: f64 = 3_600.0;
const SHAPE: f64 = 1.1;
/// First packets from nowhere for each flow.
const FLOOD: u64 = 20;

/// Flows at the same time with so many new ones a second, if all were seen to their end.
pub(super) fn at_once(rate: u32) -> usize {
    let cut = 1.0 - (SHORTEST / LONGEST).powf(SHAPE);
    let mean =
        SHORTEST.powf(SHAPE) / cut * SHAPE / (SHAPE - 1.0) * (SHORTEST.powf(1.0 - SHAPE) - LONGEST.powf(1.0 - SHAPE));
    (f64::from(rate) * mean) as usize
}

/// A flow, and where each way of tracking has it.
struct Flow {
    slot: u32,
    ends: u64,
    /// Between two packets, on average.
    pause: u64,
    homes: Vec<Home>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    At(u16),
    /// Broken, or gone with its backend.
    Lost,
}

/// Runs a scenario.
pub(super) fn run(scenario: Scenario, rate: u32, seed: u64, ways: Vec<Box<dyn Tracking>>) -> Outcome {
    let scores =
        ways.iter().map(|way| Score { name: way.name(), mean_pins: 0.0, most_pins: 0, broken: 0, died: 0 }).collect();
    let outcome = Outcome { flows: 0, at_once: 0.0, scores };
    let (dice, pool) = (Dice::new(seed), Pool::new(seed));
    let mut run =
        Run { up: pool.up(), pool, dice, ways, outcome, flows: HashMap::new(), next: BinaryHeap::new(), numbers: 0 };
    run.change(0);
    for second in 0..SECONDS {
        run.second(scenario, second, rate);
    }
    for score in &mut run.outcome.scores {
        score.mean_pins /= SECONDS as f64;
    }
    run.outcome.at_once /= SECONDS as f64;
    run.outcome
}

struct Run {
    pool: Pool,
    up: Vec<bool>,
    dice: Dice,
    ways: Vec<Box<dyn Tracking>>,
    outcome: Outcome,
    flows: HashMap<u64, Flow>,
    /// When which flow sends next.
    next: BinaryHeap<Reverse<(u64, u64)>>,
    /// Numbers that flows were given.
    numbers: u64,
}

impl Run {
    fn change(&mut self, now: u64) {
        let table = self.pool.table();
        self.up = self.pool.up();
        for way in &mut self.ways {
            way.pool_changed(&table, &self.up, now);
        }
        for flow in self.flows.values_mut() {
            for (home, score) in flow.homes.iter_mut().zip(&mut self.outcome.scores) {
                if matches!(home, Home::At(backend) if !self.up[usize::from(*backend)]) {
                    *home = Home::Lost;
                    score.died += 1;
                }
            }
        }
    }

    fn second(&mut self, scenario: Scenario, second: u64, rate: u32) {
        let now = second * 1_000;
        if self.pool.second(scenario, second) {
            self.change(now);
        }
        for _ in 0..rate {
            let at = now + self.dice.below(1_000);
            self.begin(at);
        }
        let flood = if scenario.is_flooded(second) { FLOOD * u64::from(rate) } else { 0 };
        let mut flooded = 0;
        while let Some(Reverse((at, flow))) = self.next.peek().copied().filter(|next| next.0.0 < now + 1_000) {
            while flooded * 1_000 < flood * (at - now) {
                self.nowhere(at);
                flooded += 1;
            }
            self.next.pop();
            self.send(flow, at);
        }
        self.outcome.at_once += self.flows.len() as f64;
        for (way, score) in self.ways.iter_mut().zip(&mut self.outcome.scores) {
            way.second(now + 1_000);
            score.mean_pins += way.pins() as f64;
            score.most_pins = score.most_pins.max(way.pins());
        }
    }

    fn number(&mut self) -> (u64, u32) {
        self.numbers += 1;
        let hash = hash::bytes(hash::DEFAULT_KEY, &self.numbers.to_le_bytes());
        (self.numbers, hash::reduce(hash, SLOTS))
    }

    fn begin(&mut self, at: u64) {
        let (number, slot) = self.number();
        let cut = 1.0 - (SHORTEST / LONGEST).powf(SHAPE);
        let length = SHORTEST / (1.0 - self.dice.fraction() * cut).powf(1.0 / SHAPE);
        // One flow in ten is mostly silent.
        let pause = if self.dice.below(10) == 0 { 20_000 } else { 1_000 };
        let flow = Flow { slot, ends: at + (length * 1_000.0) as u64, pause, homes: vec![] };
        self.flows.insert(number, flow);
        self.next.push(Reverse((at, number)));
        self.outcome.flows += 1;
    }

    /// A first packet whose sender will never send another one.
    fn nowhere(&mut self, at: u64) {
        let (flow, slot) = self.number();
        for way in &mut self.ways {
            way.packet(&Packet { flow, slot, signal: Signal::FIRST }, at);
        }
    }

    fn send(&mut self, number: u64, at: u64) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let first = flow.homes.is_empty();
        let closing = at >= flow.ends;
        let signal = match (first, closing) {
            (true, _) => Signal::FIRST,
            (_, true) => Signal::CLOSING,
            _ => Signal::NONE,
        };
        let packet = Packet { flow: number, slot: flow.slot, signal };
        for (index, way) in self.ways.iter_mut().enumerate() {
            if first {
                let backend = way.packet(&packet, at);
                flow.homes.push(if backend == NO_BACKEND { Home::Lost } else { Home::At(backend) });
            } else if let Home::At(home) = flow.homes[index]
                && way.packet(&packet, at) != home
            {
                self.outcome.scores[index].broken += 1;
                flow.homes[index] = Home::Lost;
            }
        }
        if closing {
            self.flows.remove(&number);
            return;
        }
        let pause = if first { ROUND_TRIP } else { flow.pause / 2 + self.dice.below(flow.pause) };
        self.next.push(Reverse((at + pause, number)));
    }
}
