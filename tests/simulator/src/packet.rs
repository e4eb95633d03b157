//! A packet on its way: the packet's own code ([`lb_common::track::follow`]), stopped between any two accesses to the maps.
//!
//! The code is run again for each access: what it was told before is told again, the next access is made in the world as it
//! is now, and what would come after that is not done. As the code does the same when it is told the same, that is one step
//! of it.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};

use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::follow::{Memory, Packet, follow};
use lb_common::track::pin::{Moment, Pin, Table};
use lb_common::track::signal::Signal;

use smallvec::SmallVec;

use super::world::{Broken, World};

/// What an access gave.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Slot(Slot),
    Pin(Pin),
    Yes(bool),
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Its flow, by the index.
    pub flow: usize,
    /// What it says of its flow.
    pub signal: Signal,
    /// When it arrived.
    pub start: u32,
    /// The backends that could be reached at some time since.
    pub saw_up: u64,
    /// The backends that died or recovered since.
    pub saw_change: u64,
    /// Where the flow is was certain when the packet was sent, and still is.
    pub certain: bool,
    /// Other packets of the flow were on their way at some time since.
    pub met_others: bool,
    /// There was no room for its pin.
    pub found_no_room: bool,
    /// The sweep removed the flow's pin while the packet was on its way, so where it goes says nothing about the next.
    pub woken: bool,
    answers: SmallVec<[Answer; 8]>,
    /// Where it goes: all accesses are made.
    goes_to: Option<u16>,
}

impl Flight {
    pub(super) fn new(flow: usize, signal: Signal, start: u32, saw_up: u64, certain: bool) -> Self {
        Self {
            flow,
            signal,
            start,
            saw_up,
            saw_change: 0,
            certain,
            met_others: false,
            found_no_room: false,
            woken: false,
            answers: SmallVec::new(),
            goes_to: None,
        }
    }

    /// True if all accesses are made and it is on its way out.
    pub(super) const fn is_through(&self) -> bool {
        self.goes_to.is_some()
    }

    /// The backends that the packet has read of, so that it may yet go there; other values that stand for none among them.
    pub(super) fn read(&self) -> impl Iterator<Item = u16> {
        let answers = self.answers.iter().flat_map(|answer| match answer {
            Answer::Slot(slot) => [Some(slot.current()), Some(slot.previous())],
            Answer::Pin(pin) => [Some(pin.backend), None],
            Answer::Yes(_) => [None, None],
        });
        answers.flatten().chain(self.goes_to)
    }

    /// What the packet was told, but for the backends. When a pin was seen is nothing to a packet.
    pub(super) fn hash_answers(&self, hasher: &mut impl Hasher) {
        for answer in &self.answers {
            match answer {
                Answer::Slot(_) => 0_u8.hash(hasher),
                Answer::Pin(pin) => (1_u8, pin.state).hash(hasher),
                Answer::Yes(yes) => (2_u8, yes).hash(hasher),
            }
        }
    }
}

/// One step of the packet on a CPU: its next access, or, after the last one, its way out.
pub(super) fn step(world: &mut World, cpu: usize) -> Result<(), Broken> {
    let Some(mut flight) = world.cpus[cpu].take() else { return Ok(()) };
    if let Some(backend) = flight.goes_to {
        return world.deliver(&flight, backend);
    }
    let packet = Packet {
        slot: world.flows[flight.flow].slot as u32,
        check: flight.flow as u32,
        protocol: world.flows[flight.flow].protocol,
        signal: flight.signal,
    };
    let replay = Replay {
        flow: flight.flow,
        now: Moment(flight.start),
        next: Cell::new(0),
        stopped: Cell::new(false),
        known: flight.answers.len(),
        overflows: Cell::new(false),
        answers: RefCell::new(std::mem::take(&mut flight.answers)),
        world: RefCell::new(world),
    };
    let chosen = follow(&packet, &replay);
    // The caller reads the backend's word, to have its address.
    let backend = if chosen != NO_BACKEND && replay.serves(chosen) { chosen } else { NO_BACKEND };
    flight.found_no_room |= replay.overflows.get();
    if replay.stopped.get() {
        flight.answers = replay.answers.into_inner();
    } else {
        flight.goes_to = Some(backend);
    }
    world.cpus[cpu] = Some(flight);
    Ok(())
}

struct Replay<'a> {
    world: RefCell<&'a mut World>,
    flow: usize,
    now: Moment,
    answers: RefCell<SmallVec<[Answer; 8]>>,
    /// Answers that are told again.
    known: usize,
    /// Accesses that were asked for.
    next: Cell<usize>,
    /// There was no room for a pin.
    overflows: Cell<bool>,
    /// One was asked for that is not to be made yet.
    stopped: Cell<bool>,
}

impl Replay<'_> {
    /// The answer of the next access. `None` if it is not to be made yet.
    fn access(&self, make: impl FnOnce(&mut World) -> Answer) -> Option<Answer> {
        let index = self.next.replace(self.next.get() + 1);
        let mut answers = self.answers.borrow_mut();
        if index == self.known {
            answers.push(make(&mut self.world.borrow_mut()));
        }
        if index > self.known {
            self.stopped.set(true);
        }
        answers.get(index).copied()
    }

    fn ask(&self, make: impl FnOnce(&mut World) -> bool) -> bool {
        matches!(self.access(|world| Answer::Yes(make(world))), Some(Answer::Yes(true)))
    }
}

impl Memory for Replay<'_> {
    fn slot(&self) -> Slot {
        match self.access(|world| Answer::Slot(world.slots[world.flows[self.flow].slot])) {
            Some(Answer::Slot(slot)) => slot,
            _ => Slot::EMPTY,
        }
    }

    fn serves(&self, backend: u16) -> bool {
        self.ask(|world| world.is_up(backend))
    }

    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin {
        match self.access(|world| Answer::Pin(world.look(table, self.flow, now, touch))) {
            Some(Answer::Pin(pin)) => pin,
            _ => Pin::NONE,
        }
    }

    fn insert(&self, table: Table, pin: &Pin) -> bool {
        self.ask(|world| {
            let room = world.insert(table, self.flow, *pin);
            self.overflows.set(!room);
            room
        })
    }

    fn remove_young(&self) {
        self.ask(|world| {
            world.remove(Table::Young, self.flow);
            true
        });
    }

    fn overflowed(&self) {
        self.ask(|world| {
            world.counts.overflows += 1;
            world.crowded = true;
            true
        });
    }

    fn is_crowded(&self) -> bool {
        self.ask(|world| world.crowded)
    }

    fn now(&self) -> Moment {
        self.now
    }
}
