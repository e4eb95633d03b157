//! The state of the model, and what must hold in it.

use std::rc::Rc;

use lb_common::protocol;
use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::pin::{Moment, Pin, Table, Timing};
use lb_common::track::signal::{Signal, begins_with_a_signal};

use smallvec::{SmallVec, smallvec};

use super::agent::Agent;
use super::packet::Flight;

/// A list that is short in the worlds of which every state is met: a state is copied for each step that is tried from it, and
/// what is no longer than this is copied without a word to the allocator.
pub type Few<T> = SmallVec<[T; 2]>;

/// The size of a world, and what may happen in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The protocol and the slot of each flow.
    pub flows: Vec<(u8, usize)>,
    /// Number of slots. All of them are the first backend's in the beginning.
    pub slots: usize,
    /// Number of backends, at most 64.
    pub backends: usize,
    /// Number of CPUs: of packets that are on their way at once.
    pub cpus: usize,
    /// Room in the table of young pins.
    pub young_room: usize,
    /// Room in the table of established pins.
    pub established_room: usize,
    /// The agent's times.
    pub timing: Timing,
    /// How often things may happen.
    pub budget: Budget,
    /// The agent may mark the tables as crowded at any time.
    pub crowding: bool,
    /// Packets close flows, too.
    pub closing: bool,
    /// Dead backends are removed, and their places given to others.
    pub removals: bool,
    /// It may come to it that no backend is wanted.
    pub none_wanted: bool,
}

/// How often things may still happen. Time passes, and packets on their way go on, without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Packets that are sent.
    pub packets: u32,
    /// Slots that get another wanted backend.
    pub changes: u32,
    /// Backends that die. They may recover, or their place may go to another one.
    pub deaths: u32,
    /// Sweeps.
    pub sweeps: u32,
}

/// In a [`Budget`]: as often as may be.
pub const ENDLESS: u32 = u32::MAX;

pub(super) fn spend(budget: &mut u32) {
    if *budget != ENDLESS {
        *budget -= 1;
    }
}

/// A pin in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The flow, by its index.
    pub flow: usize,
    /// The pin.
    pub pin: Pin,
}

/// How far a flow is with its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The client has not begun.
    Idle,
    /// First packets were sent.
    Opening,
    /// Others, too.
    Open,
    /// The client has sent a closing one.
    Closing,
}

/// A flow as its client knows it.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The protocol.
    pub protocol: u8,
    /// The slot.
    pub slot: usize,
    /// How far the client is.
    pub phase: Phase,
    /// The last first packet reached a backend: the client may go on.
    pub answered: bool,
    /// The backend that was promised to the flow. Nothing is promised before its first packet has arrived, after its
    /// backend died, after it was silent for too long, and after its young pin was pushed out; then its next packet decides.
    pub home: Option<u16>,
    /// When the last packet was sent.
    pub last: u32,
}

/// What is counted. No part of what tells one state from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that reached a backend.
    pub delivered: u64,
    /// Those among them to whose flow the backend was promised.
    pub kept: u64,
    /// Flows that lost their promise because their young pin was pushed out.
    pub pushed_out: u64,
    /// Pins for which there was no room.
    pub overflows: u64,
    /// Flows that woke after their time in the very moment in which the sweep removed their pin.
    pub woken: u64,
    /// The most pins held at once.
    pub most_pins: u64,
}

/// An invariant is broken: a sentence that says how.
pub type Broken = String;

/// The state of the model.
#[derive(Clone, Debug)]
pub struct World {
    /// What it began with.
    pub setup: Rc<Setup>,
    /// The time in ticks.
    pub now: u32,
    /// The slots' map.
    pub slots: Few<Slot>,
    /// The backends' map: bit by bit, who can be reached.
    pub up: u64,
    /// The table of young pins, the one that was not seen for the longest time first.
    pub young: Few<Entry>,
    /// The table of established pins.
    pub established: Few<Entry>,
    /// The tables are marked as crowded.
    pub crowded: bool,
    /// A packet was forwarded: the listener's counter is not zero any more.
    pub forwarded: bool,
    /// The flows.
    pub flows: Few<Flow>,
    /// The packets on their way, by CPU.
    pub cpus: Few<Option<Flight>>,
    /// The agent.
    pub agent: Agent,
    /// What may still happen.
    pub budget: Budget,
    /// What has happened.
    pub counts: Counts,
}

impl World {
    /// The beginning: all backends are up, all slots are steady, no packet was sent.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let flow =
            |&(protocol, slot)| Flow { protocol, slot, phase: Phase::Idle, answered: false, home: None, last: 0 };
        Self {
            now: 1_000,
            slots: smallvec![Slot::steady(0); setup.slots],
            up: (1 << setup.backends) - 1,
            young: Few::new(),
            established: Few::new(),
            crowded: false,
            forwarded: false,
            flows: setup.flows.iter().map(flow).collect(),
            cpus: smallvec![None; setup.cpus],
            agent: Agent::default(),
            budget: setup.budget,
            counts: Counts::default(),
            setup: Rc::new(setup),
        }
    }

    /// The time as the pins have it.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.now)
    }

    /// True if the backend can be reached.
    #[must_use]
    pub fn is_up(&self, backend: u16) -> bool {
        backend < 64 && self.up >> backend & 1 == 1
    }

    /// A table of pins.
    #[must_use]
    pub fn table(&self, table: Table) -> &Few<Entry> {
        match table {
            Table::Young => &self.young,
            Table::Established => &self.established,
        }
    }

    fn table_mut(&mut self, table: Table) -> &mut Few<Entry> {
        match table {
            Table::Young => &mut self.young,
            Table::Established => &mut self.established,
        }
    }

    /// A look at a flow's pin, which marks it as seen.
    pub(super) fn look(&mut self, table: Table, flow: usize, now: Moment, touch: bool) -> Pin {
        let entries = self.table_mut(table);
        let Some(index) = entries.iter().position(|entry| entry.flow == flow) else { return Pin::NONE };
        let found = entries[index].pin;
        if touch {
            entries[index].pin.seen = now;
            if table == Table::Young {
                // The kernel's LRU marks what was looked at; the model moves it to the end.
                entries[index..].rotate_left(1);
            }
        }
        found
    }

    /// An update of a table. False if there is no room.
    pub(super) fn insert(&mut self, table: Table, flow: usize, pin: Pin) -> bool {
        let room = match table {
            Table::Young => self.setup.young_room,
            Table::Established => self.setup.established_room,
        };
        let entries = self.table_mut(table);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.flow == flow) {
            entry.pin = pin;
        } else if entries.len() < room {
            entries.push(Entry { flow, pin });
        } else if table == Table::Young && room > 0 {
            let out = entries.remove(0).flow;
            entries.push(Entry { flow, pin });
            if self.established.iter().all(|entry| entry.flow != out) && self.flows[out].home.is_some() {
                self.counts.pushed_out += 1;
                self.forget(out);
            }
        } else {
            return false;
        }
        let pins = (self.young.len() + self.established.len()) as u64;
        self.counts.most_pins = self.counts.most_pins.max(pins);
        true
    }

    /// Takes a pin out of a table.
    pub(super) fn remove(&mut self, table: Table, flow: usize) {
        self.table_mut(table).retain(|entry| entry.flow != flow);
    }

    /// Nothing is promised to a flow any more; packets that are on their way may go anywhere.
    pub(super) fn forget(&mut self, flow: usize) {
        self.promise(flow, None);
    }

    /// Sets what is promised to a flow, for packets that are sent from now on.
    pub(super) fn promise(&mut self, flow: usize, home: Option<u16>) {
        self.flows[flow].home = home;
        for flight in self.cpus.iter_mut().flatten().filter(|flight| flight.flow == flow) {
            flight.certain = false;
        }
    }

    /// True if a packet of the flow is on its way.
    #[must_use]
    pub fn is_on_its_way(&self, flow: usize) -> bool {
        self.cpus.iter().flatten().any(|flight| flight.flow == flow)
    }

    /// What a client may send now.
    #[must_use]
    pub fn sendable(&self, flow: usize) -> SmallVec<[Signal; 3]> {
        let is = self.flows[flow];
        let mut signals = SmallVec::new();
        if begins_with_a_signal(is.protocol) {
            // A client repeats its first packet after a second or more: the one before is through. Network devices keep
            // copies of a packet on one CPU.
            if matches!(is.phase, Phase::Idle | Phase::Opening) && !self.is_on_its_way(flow) {
                signals.push(Signal::FIRST);
            }
            if is.answered {
                signals.push(Signal::NONE);
            }
            if is.phase == Phase::Open && self.setup.closing {
                signals.push(Signal::CLOSING);
            }
        } else {
            signals.push(Signal::NONE);
        }
        signals
    }

    /// A client sends a packet; it arrives at a CPU.
    pub(super) fn send(&mut self, flow: usize, signal: Signal, cpu: usize) {
        let timeouts = self.setup.timing.timeouts;
        let is = self.flows[flow];
        let idle = match is.phase {
            Phase::Idle => u32::MAX,
            Phase::Opening => timeouts.handshake,
            Phase::Closing => timeouts.closing,
            Phase::Open if begins_with_a_signal(is.protocol) => timeouts.established,
            Phase::Open if is.protocol == protocol::UDP => timeouts.udp,
            Phase::Open => timeouts.other,
        };
        let first = signal == Signal::FIRST;
        // A repeated first packet asks anew: the client has had no answer.
        if first || self.now - is.last > idle {
            self.forget(flow);
        }
        let is = &mut self.flows[flow];
        is.last = self.now;
        is.answered &= !first;
        is.phase = match is.phase {
            _ if first => Phase::Opening,
            _ if signal == Signal::CLOSING => Phase::Closing,
            Phase::Closing => Phase::Closing,
            _ => Phase::Open,
        };
        let mut flight = Flight::new(flow, signal, self.now, self.up, is.home.is_some());
        for other in self.cpus.iter_mut().flatten().filter(|other| other.flow == flow) {
            other.met_others = true;
            flight.met_others = true;
        }
        self.cpus[cpu] = Some(flight);
    }

    /// A client is done with a flow; it may begin anew with the same 5-tuple.
    pub(super) fn end(&mut self, flow: usize) {
        self.flows[flow].phase = Phase::Idle;
        self.flows[flow].answered = false;
        self.forget(flow);
    }

    /// A packet leaves the balancer: the invariants on where it goes.
    pub(super) fn deliver(&mut self, flight: &Flight, backend: u16) -> Result<(), Broken> {
        let flow = flight.flow;
        let home = self.flows[flow].home;
        self.forwarded |= backend != NO_BACKEND;
        if backend != NO_BACKEND && flight.saw_up >> backend & 1 == 0 {
            return Err(format!("a packet of flow {flow} went to backend {backend}, which was dead all the while"));
        }
        if flight.certain {
            return match home {
                Some(home) if home != backend => {
                    Err(format!("a packet of flow {flow} went to backend {backend}; it is at {home}, which serves"))
                }
                _ => {
                    self.counts.delivered += 1;
                    self.counts.kept += 1;
                    Ok(())
                }
            };
        }
        if backend == NO_BACKEND {
            return Ok(());
        }
        self.counts.delivered += 1;
        self.flows[flow].answered = true;
        // Packets of one flow that are on their way at the same time may differ, and pin it differently, while nothing is
        // promised yet; so may one that meets a backend in the moment of its death, or that finds no room for the pin.
        let disturbed = flight.met_others || flight.woken || flight.found_no_room;
        let lasting = !disturbed && flight.saw_change >> backend & 1 == 0;
        if lasting && home.is_none() {
            self.promise(flow, Some(backend));
        }
        Ok(())
    }

    /// The invariants on the state itself.
    pub fn check(&self) -> Result<(), Broken> {
        for (table, room) in [(Table::Young, self.setup.young_room), (Table::Established, self.setup.established_room)]
        {
            if self.table(table).len() > room {
                return Err(format!("the {table:?} table holds more than {room} pins"));
            }
        }
        for entry in self.young.iter().chain(&self.established) {
            if self.slots[self.flows[entry.flow].slot].is_steady() {
                return Err(format!("flow {} is pinned in a steady slot", entry.flow));
            }
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let watched = self.agent.watches.iter().find(|watch| watch.0 == index);
            if slot.is_steady() == watched.is_some() || watched.is_some_and(|watch| watch.1.slot() != *slot) {
                return Err(format!("slot {index} is {slot:?}, but the agent has {watched:?}"));
            }
            if self.agent.wounded >> index & 1 == 1 {
                continue;
            }
            let dead = |backend: u16| backend < 64 && !self.is_up(backend);
            if dead(slot.current()) || dead(slot.previous()) {
                return Err(format!("slot {index} is {slot:?}, but one of the two is dead"));
            }
        }
        Ok(())
    }
}
