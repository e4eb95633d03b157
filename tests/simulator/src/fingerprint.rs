//! A number that tells states apart by what can still come of them, so that an exploration meets each only once.
//!
//! Left out is what makes no difference to the future: which time it is (times count from now, up to the point from which on
//! they are "long ago"), which of the backends is which and which CPU a packet is on, and what is known to nobody.

use std::hash::{Hash, Hasher};

use lb_common::track::pin::Moment;

use smallvec::SmallVec;

use super::agent::Agent;
use super::packet::Flight;
use super::world::{Entry, Few, World};

/// The number of a state.
#[must_use]
pub fn of(world: &World) -> u64 {
    let mut print = Print { world, mixer: Mixer(0), labels: [NO_LABEL; 64], given: 0 };
    print.world();
    print.mixer.finish()
}

const NO_LABEL: u8 = u8::MAX;

struct Print<'a> {
    world: &'a World,
    mixer: Mixer,
    /// The backends' numbers in the order in which they are met.
    labels: [u8; 64],
    given: u8,
}

impl Print<'_> {
    fn world(&mut self) {
        let world = self.world;
        world.budget.hash(&mut self.mixer);
        for slot in &world.slots {
            self.backend(slot.current());
            self.backend(slot.previous());
        }
        let mut entries: Few<_> = world.established.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.flow);
        self.entries(&entries);
        let mut entries: Few<_> = world.young.iter().collect();
        if world.setup.young_room >= world.flows.len() {
            // None is ever pushed out, so their order is nothing to anybody.
            entries.sort_unstable_by_key(|entry| entry.flow);
        }
        self.entries(&entries);
        self.flows();
        let mut flights: Few<_> = world.cpus.iter().flatten().collect();
        flights.sort_by_key(|flight| flight.order());
        for flight in &flights {
            self.flight(flight);
        }
        self.agent(&world.agent);
        self.backends(&flights);
    }

    /// Ticks since `then`, if they are fewer than `enough`.
    fn age(&self, then: u32, enough: u32) -> u32 {
        self.world.now.wrapping_sub(then).min(enough)
    }

    /// A backend by its label; what is not a backend's index by itself.
    fn backend(&mut self, backend: u16) {
        let Some(label) = self.labels.get_mut(usize::from(backend)) else { return self.mixer.write_u16(backend) };
        if *label == NO_LABEL {
            *label = self.given;
            self.given += 1;
        }
        self.mixer.write_u8(*label);
    }

    fn entries(&mut self, entries: &[&Entry]) {
        let timing = self.world.setup.timing;
        entries.len().hash(&mut self.mixer);
        for Entry { flow, pin } in entries {
            let silent = self.age(pin.seen.0, timing.timeouts.of(pin.state) + 2 * timing.grace + 1);
            (flow, pin.state, silent).hash(&mut self.mixer);
            self.backend(pin.backend);
        }
    }

    fn flows(&mut self) {
        for (index, flow) in self.world.flows.iter().enumerate() {
            (flow.phase, flow.answered, flow.home.is_some()).hash(&mut self.mixer);
            let matters = flow.home.is_some() || self.world.is_on_its_way(index);
            let enough = self.world.setup.timing.timeouts.longest(flow.protocol) + 1;
            (if matters { self.age(flow.last, enough) } else { enough }).hash(&mut self.mixer);
            if let Some(home) = flow.home {
                self.backend(home);
            }
        }
    }

    fn flight(&mut self, flight: &Flight) {
        (flight.order(), self.world.now - flight.start).hash(&mut self.mixer);
        for backend in flight.read() {
            self.backend(backend);
        }
    }

    fn agent(&mut self, agent: &Agent) {
        let setup = &self.world.setup;
        let grace = setup.timing.grace;
        let idle = agent.idle(setup) + grace + 1;
        let enough = 2 * grace + 1;
        for (slot, watch) in &agent.watches {
            let known = if watch.slot().is_moving() { idle } else { enough };
            let found = if watch.slot().is_moving() { 0 } else { self.age(watch.found().0, enough) };
            let untouched = agent.untouched_at.map_or(0, |at| Moment(at).since(watch.since()).min(enough));
            (slot, self.age(watch.since().0, known), found, untouched).hash(&mut self.mixer);
        }
        let crowded_at = agent.crowded_at.map_or(idle, |at| self.age(at, idle));
        (agent.wounded, self.world.crowded, crowded_at, self.world.forwarded).hash(&mut self.mixer);
        let Some(sweep) = &agent.sweep else { return };
        (sweep.table as u32, sweep.next, sweep.doubted, sweep.doomed).hash(&mut self.mixer);
        for (slot, watch) in agent.watches.iter().filter(|(_, watch)| watch.slot().is_settling()) {
            let believed = |then| Moment(sweep.began).since(then).min(enough);
            (believed(watch.since()), believed(watch.found()), sweep.in_slot[*slot] > 0).hash(&mut self.mixer);
        }
    }

    /// What there is to say of each backend; of those that nobody knows, in any order.
    fn backends(&mut self, flights: &[&Flight]) {
        let world = self.world;
        let agent = &world.agent;
        let enough = 2 * world.setup.timing.grace + 1;
        let mut all: SmallVec<[_; 4]> = (0..world.setup.backends as u16)
            .map(|backend| {
                let vacancy = agent.vacancies.iter().find(|(place, _)| *place == backend).map(|(_, vacancy)| {
                    let sweep = agent.sweep.as_ref().map(|sweep| {
                        let believed = Moment(sweep.began).since(vacancy.since()).min(enough);
                        (believed, sweep.on_backend[usize::from(backend)] > 0)
                    });
                    let clean = vacancy.clean().map(|at| self.age(at.0, enough));
                    (self.age(vacancy.since().0, enough), clean, sweep)
                });
                let seen = flights.iter().fold(0_u64, |seen, flight| {
                    seen << 2 | (flight.saw_up >> backend & 1) << 1 | flight.saw_change >> backend & 1
                });
                (self.labels[usize::from(backend)], world.is_up(backend), vacancy, seen)
            })
            .collect();
        all.sort_unstable();
        all.hash(&mut self.mixer);
    }
}

impl Flight {
    /// A number for all of the packet but its age and the backends that it has read of.
    fn order(&self) -> u64 {
        let mut mixer = Mixer(1);
        (self.flow, self.signal, self.certain, self.met_others, self.found_no_room, self.woken, self.is_through())
            .hash(&mut mixer);
        self.hash_answers(&mut mixer);
        mixer.finish()
    }
}

/// A fast hasher of words, good enough to tell some millions of states apart.
#[derive(Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, i: u8) {
        self.write_u64(i.into());
    }

    fn write_u16(&mut self, i: u16) {
        self.write_u64(i.into());
    }

    fn write_u32(&mut self, i: u32) {
        self.write_u64(i.into());
    }

    fn write_u64(&mut self, i: u64) {
        let mixed = (self.0 ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn write_usize(&mut self, i: usize) {
        self.write_u64(i as u64);
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 31
    }
}
