//! Step 4, track: the backend of a flow that its slot alone does not tell. Nearly no packet comes here: one whose slot is
//! steady takes the slot's backend.
//!
//! The rule is that of [`lb_common::track`]; this file is how it gets at the maps. A pool that pins every flow is to the rule
//! one whose slots are always moving: from the backend that the hash gives, for flows that nothing is remembered of, to
//! the one that a new flow is given.

use core::cell::Cell;

use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::Listener;
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{NO_BACKEND, Slot, TOO_MANY_FLOWS};
use lb_common::track::follow::{Memory, Packet, follow};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};
use lb_common::track::signal::{Signal, begins_with_a_signal};

use crate::select::Place;
use crate::tables::Tables;

/// Another hash of the same flow, for a choice that its slot has no part in.
const SECOND_HASH: u64 = 0x9e6c_63d0_876a_3f6b;

/// What has to be known to track a packet.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The listener.
    pub listener: &'a Listener,
    /// The flow.
    pub flow: &'a Flow,
    /// The flow's slot.
    pub place: Place,
    /// What the packet says of its flow's life.
    pub signal: Signal,
    /// The flow's pin has this key.
    pub key: &'a PinKey,
}

/// The backend of a flow, by its index in the pool; [`NO_BACKEND`] if none would have it, [`TOO_MANY_FLOWS`] if it would be one
/// more than the listener takes.
#[inline(always)]
pub fn run<T: Tables>(request: Request<'_>, tables: &T) -> u16 {
    let packet = Packet {
        slot: request.place.index,
        check: hash::flow(tables.hash_key(), request.flow) as u32,
        protocol: request.flow.protocol,
        signal: request.signal,
    };
    let memory = FlowMemory { request, tables, full: Cell::new(false) };
    let backend = follow(&packet, &memory);
    if backend == NO_BACKEND && memory.full.get() { TOO_MANY_FLOWS } else { backend }
}

/// The maps, as the rule sees them.
struct FlowMemory<'a, T> {
    request: Request<'a>,
    tables: &'a T,
    /// A new flow was refused, as the listener has as many as it may have.
    full: Cell<bool>,
}

impl<T: Tables> FlowMemory<'_, T> {
    /// The backend of a flow that began before all flows of the pool were pinned; [`NO_BACKEND`] if there is none such.
    #[inline(always)]
    fn unpinned(&self) -> u16 {
        let slot = match self.request.listener.before {
            // No flow is left that is not pinned; where a flow's first packet can't be told, this is one.
            Listener::BEFORE_NOTHING if !begins_with_a_signal(self.request.flow.protocol) => Slot::EMPTY,
            // This one can only have begun elsewhere, on another balancer, or be older than its pin.
            Listener::BEFORE_NOTHING => self.request.place.slot,
            Listener::BEFORE_SOURCE_IP => self.slot_of(hash::source(self.tables.hash_key(), &self.request.flow.source)),
            _ => self.slot_of(hash::flow(self.tables.hash_key(), self.request.flow)),
        };
        if slot.is_moving() { slot.previous() } else { slot.current() }
    }

    #[inline(always)]
    fn slot_of(&self, hash: u64) -> Slot {
        let index = hash::reduce(hash, self.request.listener.slots_len);
        self.tables.slot(self.request.listener.slots_base + index).unwrap_or(Slot::EMPTY)
    }

    /// The backend of the client's session, if it takes new flows.
    #[inline(always)]
    fn session(&self) -> u16 {
        if self.request.listener.persistence == 0 {
            return NO_BACKEND;
        }
        let key =
            SessionKey::new(&self.request.flow.source, self.request.listener.persistence, self.request.listener.pool);
        let Some(session) = self.tables.session(&key) else {
            return NO_BACKEND;
        };
        let takes = self.place(session.backend).and_then(|place| self.tables.backend(place));
        if takes.is_some_and(|backend| backend.is_reachable() && !backend.is_draining()) {
            session.backend
        } else {
            NO_BACKEND
        }
    }

    /// The backend that the pool's algorithm gives a new flow.
    #[inline(always)]
    fn by_algorithm(&self) -> u16 {
        // Read once: what is divided by is what was compared with 0.
        let turns = self.request.listener.schedule_len;
        match self.request.listener.algorithm {
            Listener::ROUND_ROBIN if turns != 0 => {
                let turn = self.tables.next_turn(self.request.listener.id) % turns;
                self.tables.slot(self.request.listener.schedule_base + turn).unwrap_or(Slot::EMPTY).current()
            }
            Listener::LEAST_CONNECTIONS => {
                let hash = hash::flow(self.tables.hash_key() ^ SECOND_HASH, self.request.flow);
                let one = self.slot_of(hash).current();
                let other = self.slot_of(hash << 32).current();
                let load = |index| self.place(index).map(|place| self.tables.load(place)).unwrap_or_default();
                if load(other).is_less_than(load(one)) { other } else { one }
            }
            _ => self.request.place.slot.current(),
        }
    }

    #[inline(always)]
    fn place(&self, index: u16) -> Option<u32> {
        let index = u32::from(index);
        if index < self.request.listener.backends_len {
            Some(self.request.listener.backends_base + index)
        } else {
            None
        }
    }
}

impl<T: Tables> Memory for FlowMemory<'_, T> {
    #[inline(always)]
    fn slot(&self) -> Slot {
        if !self.request.listener.pins_every_flow() {
            return self.request.place.slot;
        }
        let unpinned = self.unpinned();
        // The current backend is what `choose` says; here it only has to be another one.
        Slot::moving(unpinned, unpinned ^ 1)
    }

    #[inline(always)]
    fn choose(&self, slot: Slot) -> u16 {
        if !self.request.listener.pins_every_flow() {
            return slot.current();
        }
        let related = self.request.signal.has(Signal::RELATED);
        let limited = self.request.listener.guards & Listener::GUARD_FLOWS != 0 && !related;
        let id = self.request.listener.id;
        if limited && self.tables.listener_flows(id) >= u64::from(self.request.listener.max_flows) {
            self.full.set(true);
            return NO_BACKEND;
        }
        let mut chosen = self.session();
        if chosen == NO_BACKEND {
            chosen = self.by_algorithm();
        }
        if chosen != NO_BACKEND && !related {
            if limited {
                self.tables.count_listener_flow(id);
            }
            if self.request.listener.persistence != 0 {
                let key = SessionKey::new(
                    &self.request.flow.source,
                    self.request.listener.persistence,
                    self.request.listener.pool,
                );
                self.tables.remember_session(&key, &Session { backend: chosen, reserved: 0, seen: self.now() });
            }
            if let Some(place) = self.place(chosen) {
                self.tables.count_flow(place);
            }
        }
        chosen
    }

    #[inline(always)]
    fn serves(&self, backend: u16) -> bool {
        self.place(backend).and_then(|place| self.tables.backend(place)).is_some_and(|backend| backend.is_reachable())
    }

    #[inline(always)]
    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin {
        self.tables.pin(table, self.request.key, now, touch)
    }

    #[inline(always)]
    fn insert(&self, table: Table, pin: &Pin) -> bool {
        self.tables.insert_pin(table, self.request.key, pin)
    }

    #[inline(always)]
    fn remove(&self, table: Table) {
        self.tables.remove_pin(table, self.request.key);
    }

    #[inline(always)]
    fn overflowed(&self) {
        self.tables.pin_overflowed();
    }

    #[inline(always)]
    fn is_crowded(&self) -> bool {
        self.tables.pins_are_crowded()
    }

    #[inline(always)]
    fn now(&self) -> Moment {
        self.tables.now()
    }
}
