//! The schedules: what can happen next in a world, and ways through all of it.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;

use lb_common::slot::NO_BACKEND;
use lb_common::track::signal::Signal;

use smallvec::SmallVec;

use super::fingerprint::Mixer;
use super::world::{Broken, ENDLESS, Entry, Phase, Setup, World, spend};
use super::{agent, fingerprint, packet};

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client sends a packet, which arrives at a CPU.
    Send {
        /// The flow.
        flow: usize,
        /// What the packet says.
        signal: Signal,
        /// The CPU.
        cpu: usize,
    },
    /// The packet on a CPU makes its next access, or leaves.
    Run {
        /// The CPU.
        cpu: usize,
    },
    /// A client is done with a flow.
    End {
        /// The flow.
        flow: usize,
    },
    /// A tick passes.
    Tick,
    /// The agent gives a slot to a backend: the pool has changed.
    Want {
        /// The slot.
        slot: usize,
        /// The backend.
        backend: u16,
    },
    /// A backend dies.
    Kill {
        /// The backend.
        backend: u16,
    },
    /// A dead backend recovers.
    Revive {
        /// The backend.
        backend: u16,
    },
    /// A dead backend is removed.
    Vacate {
        /// The backend.
        backend: u16,
    },
    /// Its place is given to another one.
    Reuse {
        /// The place.
        backend: u16,
    },
    /// The agent lets a slot settle.
    Settle {
        /// The slot.
        slot: usize,
    },
    /// The agent marks the tables as crowded, or takes the mark off.
    Mark,
    /// The agent goes on with its sweep, or begins one.
    Sweep,
}

/// All that can happen next.
#[must_use]
pub fn steps(world: &World) -> SmallVec<[Step; 16]> {
    let mut steps = SmallVec::new();
    let free_cpu = world.cpus.iter().position(Option::is_none);
    for (cpu, flight) in world.cpus.iter().enumerate() {
        // A CPU is as good as any other, so packets come to the first that is free.
        if flight.is_some() {
            steps.push(Step::Run { cpu });
        }
    }
    for (flow, is) in world.flows.iter().enumerate() {
        if let Some(cpu) = free_cpu.filter(|_| world.budget.packets > 0) {
            steps.extend(world.sendable(flow).into_iter().map(|signal| Step::Send { flow, signal, cpu }));
        }
        if world.setup.closing && is.phase == Phase::Closing && !world.is_on_its_way(flow) {
            steps.push(Step::End { flow });
        }
    }
    // A packet is through within the grace.
    if world.cpus.iter().flatten().all(|flight| world.now - flight.start < world.setup.timing.grace) {
        steps.push(Step::Tick);
    }
    agent_steps(world, &mut steps);
    steps
}

fn agent_steps(world: &World, steps: &mut SmallVec<[Step; 16]>) {
    let doing = &world.agent;
    let backends = 0..world.setup.backends as u16;
    let up = backends.clone().filter(|backend| world.is_up(*backend));
    let none = (world.setup.none_wanted || world.up == 0).then_some(NO_BACKEND);
    let wanted: SmallVec<[u16; 4]> = up.clone().chain(none).collect();
    if doing.wounded != 0 {
        let slot = doing.wounded.trailing_zeros() as usize;
        steps.extend(wanted.iter().map(|&backend| Step::Want { slot, backend }));
        return;
    }
    if doing.sweep.is_some() || (world.budget.sweeps > 0 && !(doing.watches.is_empty() && doing.vacancies.is_empty())) {
        steps.push(Step::Sweep);
    }
    if !doing.is_free() {
        return;
    }
    if world.crowded || world.setup.crowding {
        steps.push(Step::Mark);
    }
    for slot in 0..world.slots.len() {
        if world.budget.changes > 0 {
            let others = wanted.iter().filter(|backend| **backend != world.slots[slot].current());
            steps.extend(others.map(|&backend| Step::Want { slot, backend }));
        }
        if agent::may_settle(world, slot) {
            steps.push(Step::Settle { slot });
        }
    }
    if world.budget.deaths > 0 {
        steps.extend(up.map(|backend| Step::Kill { backend }));
    }
    for backend in backends.filter(|backend| !world.is_up(*backend)) {
        match agent::vacancy(world, backend) {
            Some(vacancy) if vacancy.is_free(world.moment(), world.setup.timing.grace) => {
                steps.push(Step::Reuse { backend });
            }
            Some(_) => {}
            None => {
                steps.push(Step::Revive { backend });
                steps.extend(world.setup.removals.then_some(Step::Vacate { backend }));
            }
        }
    }
}

/// Lets it happen.
pub fn apply(world: &mut World, step: Step) -> Result<(), Broken> {
    match step {
        Step::Send { flow, signal, cpu } => {
            spend(&mut world.budget.packets);
            world.send(flow, signal, cpu);
        }
        Step::Run { cpu } => packet::step(world, cpu)?,
        Step::End { flow } => world.end(flow),
        Step::Tick => world.now += 1,
        Step::Want { slot, backend } => {
            if world.agent.wounded == 0 {
                spend(&mut world.budget.changes);
            }
            agent::want(world, slot, backend);
        }
        Step::Kill { backend } => {
            spend(&mut world.budget.deaths);
            agent::kill(world, backend);
        }
        Step::Revive { backend } => agent::revive(world, backend),
        Step::Vacate { backend } => agent::vacate(world, backend),
        Step::Reuse { backend } => agent::reuse(world, backend)?,
        Step::Settle { slot } => agent::settle(world, slot),
        Step::Mark => agent::mark(world),
        Step::Sweep => agent::sweep(world),
    }
    world.check()
}

/// When changes stop and flows end, every slot gets back to steady and nothing is stored.
pub fn wind_down(world: &World) -> Result<(), Broken> {
    let mut world = world.clone();
    let go = |world: &mut World, step| apply(world, step);
    while world.agent.wounded != 0 {
        let slot = world.agent.wounded.trailing_zeros() as usize;
        let backend = if world.up == 0 { NO_BACKEND } else { world.up.trailing_zeros() as u16 };
        go(&mut world, Step::Want { slot, backend })?;
    }
    for cpu in 0..world.cpus.len() {
        while world.cpus[cpu].is_some() {
            go(&mut world, Step::Run { cpu })?;
        }
    }
    if world.crowded {
        go(&mut world, Step::Mark)?;
    }
    let timing = world.setup.timing;
    let enough = 8 * (timing.timeouts.longest(lb_common::protocol::ANY) + timing.grace + 1);
    for _ in 0..enough {
        go(&mut world, Step::Tick)?;
        for slot in 0..world.slots.len() {
            if agent::may_settle(&world, slot) {
                go(&mut world, Step::Settle { slot })?;
            }
        }
        world.budget.sweeps = ENDLESS;
        go(&mut world, Step::Sweep)?;
        while world.agent.sweep.is_some() {
            go(&mut world, Step::Sweep)?;
        }
    }
    let unsteady = world.slots.iter().position(|slot| !slot.is_steady());
    let pins = world.young.len() + world.established.len();
    match unsteady {
        Some(slot) => Err(format!("slot {slot} does not get back to steady: {:?}", world.slots[slot])),
        None if pins > 0 => Err(format!("{pins} pins stay")),
        None => {
            match world.agent.vacancies.iter().find(|(_, vacancy)| !vacancy.is_free(world.moment(), timing.grace)) {
                Some((place, _)) => Err(format!("place {place} does not get free")),
                None => Ok(()),
            }
        }
    }
}

/// How an exploration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// Different states that were met.
    pub states: usize,
    /// Steps that were made.
    pub steps: usize,
}

/// Goes through every schedule of a small world, and through every state once. On one in `wind` states it also tries
/// that the world gets back to rest from there.
///
/// The error tells what is broken and the steps that led there.
pub fn exhaust(setup: Setup, wind: u64) -> Result<Explored, String> {
    let start = World::new(setup);
    let mut met: HashSet<u64, BuildHasherDefault<Mixer>> = HashSet::from_iter([fingerprint::of(&start)]);
    // How each state was reached: from which, by which step. The nearest states come first, so a broken invariant is told by
    // one of the shortest ways to it.
    let mut reached = vec![(0, Step::Tick)];
    let mut ahead = VecDeque::from([(start.clone(), 0)]);
    let mut steps_made = 0;
    while let Some((world, index)) = ahead.pop_front() {
        for step in steps(&world) {
            steps_made += 1;
            let mut world = world.clone();
            let outcome = apply(&mut world, step);
            let mark = fingerprint::of(&world);
            if outcome.is_ok() && !met.insert(mark) {
                continue;
            }
            let outcome = outcome.and_then(|()| if mark.is_multiple_of(wind) { wind_down(&world) } else { Ok(()) });
            if let Err(broken) = outcome {
                let mut trace = vec![step];
                let mut at = index;
                while at != 0 {
                    let (from, by) = reached[at];
                    trace.push(by);
                    at = from;
                }
                trace.reverse();
                return Err(story(&broken, &start, &trace));
            }
            ahead.push_back((world, reached.len()));
            reached.push((index, step));
        }
    }
    Ok(Explored { states: met.len(), steps: steps_made })
}

/// Goes one random way of so many steps through a world; at its end the world must get back to rest. The same seed goes the
/// same way.
///
/// The error tells what is broken and the last steps that led there.
pub fn wander(setup: Setup, seed: u64, length: usize) -> Result<World, String> {
    let start = World::new(setup);
    let mut world = start.clone();
    let mut dice = Dice::new(seed);
    let mut trace = vec![];
    for _ in 0..length {
        let choices = steps(&world);
        let weighted: Vec<(Step, u64)> = choices.into_iter().map(|step| (step, weight(step))).collect();
        let total = weighted.iter().map(|(_, weight)| weight).sum();
        let mut point = dice.below(total);
        let chosen = weighted.into_iter().find(|(_, weight)| {
            let here = point < *weight;
            point = point.wrapping_sub(*weight);
            here
        });
        let Some((step, _)) = chosen else { break };
        trace.push(step);
        apply(&mut world, step).map_err(|broken| format!("seed {seed}: {}", story(&broken, &start, &trace)))?;
    }
    wind_down(&world).map_err(|broken| format!("seed {seed}, at the end: {broken}"))?;
    Ok(world)
}

/// How likely a step is in a random schedule, against the others that can be made.
const fn weight(step: Step) -> u64 {
    match step {
        Step::Run { .. } => 400,
        Step::Sweep => 300,
        Step::Settle { .. } => 100,
        Step::Tick | Step::Mark => 60,
        Step::Send { .. } => 10,
        Step::Want { .. } | Step::End { .. } | Step::Reuse { .. } => 2,
        Step::Kill { .. } | Step::Revive { .. } | Step::Vacate { .. } => 1,
    }
}

/// The last steps of a way, with what the maps held after each.
fn story(broken: &str, start: &World, trace: &[Step]) -> String {
    const LAST: usize = 80;
    let mut story = format!("{broken}. Step, time, slots, young pins, established pins:");
    let mut world = start.clone();
    for (index, step) in trace.iter().enumerate() {
        let outcome = apply(&mut world, *step);
        if index + LAST < trace.len() && outcome.is_ok() {
            continue;
        }
        let slots: Vec<_> = world.slots.iter().map(|slot| (slot.previous(), slot.current())).collect();
        let pins = |entries: &[Entry]| -> Vec<_> {
            entries.iter().map(|entry| (entry.flow, entry.pin.backend, entry.pin.state, entry.pin.seen.0)).collect()
        };
        let (young, established) = (pins(&world.young), pins(&world.established));
        story.push_str(&format!("\n  {step:?}, {}, {slots:?}, {young:?}, {established:?}", world.now));
    }
    story
}

/// Random numbers that are the same for the same seed (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with that seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `count`, which is not 0.
    pub const fn below(&mut self, count: u64) -> u64 {
        ((self.roll() as u128 * count as u128) >> 64) as u64
    }

    /// A number from 0 up to, not including, 1.
    pub const fn fraction(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
