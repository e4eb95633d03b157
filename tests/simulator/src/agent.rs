//! The model's agent: writes one slot at a time, and sweeps one pin at a time.

use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::change::{Vacancy, Watch, retarget};
use lb_common::track::pin::{Moment, Pin, Table};
use lb_common::track::sweep::{self, is_done};

use smallvec::{SmallVec, smallvec};

use super::world::{Broken, Few, Setup, World, spend};

/// What the agent remembers.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    /// The slots that aren't steady.
    pub watches: Few<(usize, Watch)>,
    /// Bit by bit, the slots that still name a backend that died.
    pub wounded: u64,
    /// When it last saw that the tables were crowded.
    pub crowded_at: Option<u32>,
    /// When it last saw that no packet was forwarded yet.
    pub untouched_at: Option<u32>,
    /// Places that were given up.
    pub vacancies: Few<(u16, Vacancy)>,
    /// The sweep that is under way.
    pub sweep: Option<Sweep>,
}

/// A sweep under way.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub(super) began: u32,
    pub(super) table: Table,
    /// The next flow in that table; the sweep goes by their indexes.
    pub(super) next: usize,
    /// The young pin that stays, unless the established table has one of the flow; that is looked up next.
    pub(super) doubted: Option<usize>,
    /// The pin that was judged to be done, and is removed next.
    pub(super) doomed: Option<usize>,
    /// Pins seen, by slot.
    pub(super) in_slot: SmallVec<[u32; 4]>,
    /// Pins seen, by the backend that they name.
    pub(super) on_backend: SmallVec<[u32; 4]>,
}

impl Agent {
    /// True if the agent is free for a command: it is not about to remove a pin, and has no slot to mend.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.wounded == 0 && self.between_pins()
    }

    /// True if no pin is about to be removed.
    #[must_use]
    pub fn between_pins(&self) -> bool {
        self.sweep.as_ref().is_none_or(|sweep| sweep.doubted.is_none() && sweep.doomed.is_none())
    }

    /// The watch of a slot.
    #[must_use]
    pub fn watch(&self, slot: usize) -> Option<&Watch> {
        self.watches.iter().find(|(watched, _)| *watched == slot).map(|(_, watch)| watch)
    }

    /// The longest that a flow may be silent in this world.
    #[must_use]
    pub fn idle(&self, setup: &Setup) -> u32 {
        setup.flows.iter().map(|(protocol, _)| setup.timing.timeouts.longest(*protocol)).max().unwrap_or(0)
    }
}

/// Another backend is wanted for a slot, or the same as before for a slot that names a dead one.
pub(super) fn want(world: &mut World, slot: usize, wanted: u16) {
    let word = retarget(world.slots[slot], wanted, |backend| world.is_up(backend));
    world.agent.wounded &= !(1 << slot);
    write(world, slot, word);
}

fn write(world: &mut World, slot: usize, word: Slot) {
    world.slots[slot] = word;
    let now = world.moment();
    let watches = &mut world.agent.watches;
    let found = watches.binary_search_by_key(&slot, |(watched, _)| *watched);
    match found {
        Ok(index) if word.is_steady() => drop(watches.remove(index)),
        Ok(index) => watches[index].1.changed(word, now),
        Err(_) if word.is_steady() => {}
        Err(index) => watches.insert(index, (slot, Watch::new(word, now))),
    }
}

/// A backend dies: its word is zeroed, and the slots that name it are next.
pub(super) fn kill(world: &mut World, backend: u16) {
    world.up &= !(1 << backend);
    for flight in world.cpus.iter_mut().flatten() {
        flight.saw_change |= 1 << backend;
    }
    for flow in 0..world.flows.len() {
        if world.flows[flow].home == Some(backend) {
            world.forget(flow);
        }
    }
    for (index, slot) in world.slots.iter().enumerate() {
        if slot.current() == backend || slot.previous() == backend {
            world.agent.wounded |= 1 << index;
        }
    }
}

/// A dead backend is up again, as the one that it was.
pub(super) fn revive(world: &mut World, backend: u16) {
    world.up |= 1 << backend;
    for flight in world.cpus.iter_mut().flatten() {
        flight.saw_up |= 1 << backend;
        flight.saw_change |= 1 << backend;
    }
}

/// A dead backend is removed for good.
pub(super) fn vacate(world: &mut World, backend: u16) {
    let vacancy = Vacancy::new(world.moment());
    world.agent.vacancies.push((backend, vacancy));
    world.agent.vacancies.sort_unstable_by_key(|(place, _)| *place);
}

/// The vacancy of a place that was given up and not given to another backend yet.
pub(super) fn vacancy(world: &World, backend: u16) -> Option<&Vacancy> {
    world.agent.vacancies.iter().find(|(place, _)| *place == backend).map(|(_, vacancy)| vacancy)
}

/// A free place goes to another backend.
pub(super) fn reuse(world: &mut World, backend: u16) -> Result<(), Broken> {
    if world.young.iter().chain(&world.established).any(|entry| entry.pin.backend == backend) {
        return Err(format!("place {backend} goes to another backend, but a pin names it"));
    }
    if world.cpus.iter().flatten().any(|flight| flight.read().any(|read| read == backend)) {
        return Err(format!("place {backend} goes to another backend, but a packet on its way has read it"));
    }
    world.agent.vacancies.retain(|(place, _)| *place != backend);
    revive(world, backend);
    Ok(())
}

/// True if a slot is moving, and would settle by now if there was always room for its pins.
pub(super) fn may_settle(world: &World, slot: usize) -> bool {
    let (idle, grace) = (world.agent.idle(&world.setup), world.setup.timing.grace);
    let untouched = if world.forwarded { world.agent.untouched_at } else { Some(world.now) }.map(Moment);
    let watch = world.agent.watch(slot);
    watch.is_some_and(|watch| watch.settles(world.moment(), idle, grace, None, untouched).is_some())
}

/// A moving slot settles, if the tables were not crowded for long enough; or the agent sees that no packet was forwarded
/// yet, which lets it settle by the next step.
pub(super) fn settle(world: &mut World, slot: usize) {
    if world.crowded {
        world.agent.crowded_at = Some(world.now);
    }
    let crowded = world.agent.crowded_at.map(Moment);
    let (idle, grace) = (world.agent.idle(&world.setup), world.setup.timing.grace);
    let untouched = world.agent.untouched_at.map(Moment);
    let watch = world.agent.watch(slot);
    if let Some(word) = watch.and_then(|watch| watch.settles(world.moment(), idle, grace, crowded, untouched)) {
        write(world, slot, word);
    } else if !world.forwarded {
        world.agent.untouched_at = Some(world.now);
    }
}

/// The agent finds the tables crowded, or not so any more. When it does is nothing that anything rests on.
pub(super) fn mark(world: &mut World) {
    world.crowded = !world.crowded;
    world.agent.crowded_at = Some(world.now);
}

/// The next step of the sweep; the first one if none is under way.
pub(super) fn sweep(world: &mut World) {
    let Some(mut sweep) = world.agent.sweep.take() else {
        spend(&mut world.budget.sweeps);
        world.agent.sweep = Some(Sweep {
            began: world.now,
            table: Table::Young,
            next: 0,
            doubted: None,
            doomed: None,
            in_slot: smallvec![0; world.slots.len()],
            on_backend: smallvec![0; world.setup.backends],
        });
        return;
    };
    if let Some(flow) = sweep.doomed.take() {
        take_out(world, &sweep, flow);
        world.agent.sweep = Some(sweep);
        return;
    }
    if let Some(flow) = sweep.doubted.take() {
        sweep.doomed = is_superseded(world, flow).then_some(flow);
        world.agent.sweep = Some(sweep);
        return;
    }
    let entries = world.table(sweep.table);
    let next = entries.iter().filter(|entry| entry.flow >= sweep.next).min_by_key(|entry| entry.flow).copied();
    if let Some(entry) = next {
        let slot = world.flows[entry.flow].slot;
        sweep.next = entry.flow + 1;
        sweep.in_slot[slot] += 1;
        if entry.pin.backend != NO_BACKEND {
            sweep.on_backend[usize::from(entry.pin.backend)] += 1;
        }
        if judge(world, &sweep, entry.flow, &entry.pin, false) {
            sweep.doomed = Some(entry.flow);
        } else if sweep.table == Table::Young {
            sweep.doubted = Some(entry.flow);
        }
        world.agent.sweep = Some(sweep);
    } else if sweep.table == Table::Young {
        sweep.table = Table::Established;
        sweep.next = 0;
        world.agent.sweep = Some(sweep);
    } else {
        finish(world, &sweep);
    }
}

fn is_superseded(world: &World, flow: usize) -> bool {
    world.established.iter().any(|entry| entry.flow == flow)
}

fn judge(world: &World, sweep: &Sweep, flow: usize, pin: &Pin, superseded: bool) -> bool {
    let times = sweep::Sweep { began: Moment(sweep.began), now: world.moment(), timing: &world.setup.timing };
    is_done(pin, superseded, world.agent.watch(world.flows[flow].slot), &times)
}

/// Removes a pin that was judged a moment ago.
fn take_out(world: &mut World, sweep: &Sweep, flow: usize) {
    let table = sweep.table;
    let pin = world.table(table).iter().find(|entry| entry.flow == flow).map(|entry| entry.pin);
    let superseded = table == Table::Young && is_superseded(world, flow);
    if pin.is_some_and(|pin| !judge(world, sweep, flow, &pin, superseded)) {
        // It was silent for longer than its time, and wakes right now: nothing is promised to it.
        world.counts.woken += 1;
        world.forget(flow);
        world.cpus.iter_mut().flatten().filter(|flight| flight.flow == flow).for_each(|flight| flight.woken = true);
    }
    world.remove(table, flow);
}

fn finish(world: &mut World, sweep: &Sweep) {
    let (began, now, grace) = (Moment(sweep.began), world.moment(), world.setup.timing.grace);
    let swept = |(slot, watch): &mut (usize, Watch)| {
        let word = watch.swept(began, sweep.in_slot[*slot], now, grace)?;
        Some((*slot, word))
    };
    let steady: Few<_> = world.agent.watches.iter_mut().filter_map(swept).collect();
    for (slot, word) in steady {
        write(world, slot, word);
    }
    for (place, vacancy) in &mut world.agent.vacancies {
        vacancy.swept(began, sweep.on_backend[usize::from(*place)], now, grace);
    }
}
