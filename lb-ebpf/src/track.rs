//! Step 4, track: the backend of a flow that its slot alone does not tell. Nearly no packet comes here: one whose slot is
//! steady takes the slot's backend.
//!
//! The rule is that of [`lb_common::track`]; this file is how it gets at the maps. A pool that pins every flow is to the rule
//! one whose slots are always moving: from the backend that the hash gives, for flows that nothing is remembered of, to
//! the one that a new flow is given ([`crate::pinned_pool`]).

use core::cell::Cell;

use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::Listener;
use lb_common::slot::{NO_BACKEND, Slot, TOO_MANY_FLOWS};
use lb_common::track::follow::{Memory, Packet, follow};
use lb_common::track::pin::{Moment, Pin, Pinned, Table};
use lb_common::track::signal::Signal;

use crate::pinned_pool::Asked;
use crate::select::{self, Place};
use crate::tables::Tables;

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
}

/// The backend of a flow, by its index in the pool; [`NO_BACKEND`] if none would have it, [`TOO_MANY_FLOWS`] if it would be one
/// more than the listener takes.
#[inline(always)]
pub fn run<T: Tables>(request: Request<'_>, tables: &T) -> u16 {
    let hash = hash::flow(tables.hash_key(), request.flow);
    let packet = Packet {
        slot: request.place.index,
        check: hash as u32,
        protocol: request.flow.protocol,
        signal: request.signal,
    };
    let memory = FlowMemory { request, hash, tables, full: Cell::new(false) };
    let backend = follow(&packet, &memory);
    if backend == NO_BACKEND && memory.full.get() { TOO_MANY_FLOWS } else { backend }
}

/// The maps, as the rule sees them.
struct FlowMemory<'a, T> {
    request: Request<'a>,
    /// The flow's.
    hash: u64,
    tables: &'a T,
    /// A new flow was refused, as the listener has as many as it may have.
    full: Cell<bool>,
}

impl<T: Tables> FlowMemory<'_, T> {
    #[inline(always)]
    fn pinned(&self) -> Pinned<'_> {
        Pinned { flow: self.request.flow, hash: self.hash, pool: self.request.listener.pool }
    }

    #[inline(always)]
    fn asked(&self) -> Asked<'_> {
        Asked { listener: self.request.listener, flow: self.request.flow, slot: self.request.place.slot }
    }
}

impl<T: Tables> Memory for FlowMemory<'_, T> {
    #[inline(always)]
    fn slot(&self) -> Slot {
        if !self.request.listener.pins_every_flow() {
            return self.request.place.slot;
        }
        let before = self.tables.backend_before(self.asked());
        // The current backend is what `choose` says; here it only has to be another one.
        Slot::moving(before, before ^ 1)
    }

    #[inline(always)]
    fn choose(&self, slot: Slot) -> u16 {
        if !self.request.listener.pins_every_flow() {
            return slot.current();
        }
        let chosen = self.tables.choose_for_new(self.asked(), !self.request.signal.has(Signal::RELATED));
        self.full.set(chosen == TOO_MANY_FLOWS);
        if chosen == TOO_MANY_FLOWS { NO_BACKEND } else { chosen }
    }

    #[inline(always)]
    fn serves(&self, backend: u16) -> bool {
        let place = select::place(self.request.listener, backend);
        place.and_then(|place| self.tables.backend(place)).is_some_and(|backend| backend.is_reachable())
    }

    #[inline(always)]
    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin {
        self.tables.pin(table, self.pinned(), now, touch)
    }

    #[inline(always)]
    fn insert(&self, table: Table, pin: &Pin) -> bool {
        self.tables.insert_pin(table, self.pinned(), pin)
    }

    #[inline(always)]
    fn remove_young(&self) {
        self.tables.remove_young_pin(self.pinned());
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
