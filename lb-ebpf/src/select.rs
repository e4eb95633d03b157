//! Step 3, select: the slot of a flow; and, when its backend is known, what it takes to send there.

use lb_common::address::MacAddr;
use lb_common::backend::{Backend, Segment};
use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::Listener;
use lb_common::outcome::Outcome;
use lb_common::slot::Slot;

use crate::finish::Finish;
use crate::tables::Tables;

/// A flow's slot.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its index in the pool's table.
    pub index: u32,
    /// What stands there.
    pub slot: Slot,
}

impl Place {
    /// No slot.
    pub const NONE: Self = Self { index: 0, slot: Slot::EMPTY };

    /// The place as a number, to hand it to a subprogram.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.slot.0 as u64) << 32 | self.index as u64
    }

    /// The place from what [`Place::to_bits`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, slot: Slot((bits >> 32) as u32) }
    }
}

/// The backend that was chosen, and what it takes to send there and to count.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// Id of the listener, for its counter.
    pub listener: u32,
    /// Place of the backend, for its counter.
    pub place: u32,
    /// The backend.
    pub backend: Backend,
    /// The segment that it stands on.
    pub segment: Segment,
}

impl Chosen {
    /// Nobody.
    pub const NONE: Self =
        Self { listener: 0, place: 0, backend: Backend::UNREACHABLE, segment: Segment::new(0, MacAddr([0; 6]), 0) };
}

/// Hashes the flow into the pool's lookup table: the index of its slot there.
#[inline(always)]
pub fn index<T: Tables>(listener: &Listener, flow: &Flow, tables: &T) -> Result<u32, Finish> {
    let hash = if listener.hash() == Listener::SOURCE_IP {
        hash::source(tables.hash_key(), &flow.source)
    } else {
        hash::flow(tables.hash_key(), flow)
    };
    if listener.slots_len == 0 {
        return Err(Finish::drop(Outcome::NoBackend));
    }
    Ok(hash::reduce(hash, listener.slots_len))
}

/// The backend of a steady slot of the pool, by its index in the pool, if a glance tells it: for any listener.
#[inline(always)]
pub fn glance<T: Tables>(listener: &Listener, index: u32, tables: &T) -> Option<u16> {
    let index = listener.slots_base + index;
    match listener.is_glanced_at() {
        false => None,
        true if listener.is_unpaired() => tables.glance(index),
        true => tables.glance_at_pair(index),
    }
}

/// The slot of that index in the pool, of which a glance told that or nothing.
#[inline(always)]
pub fn slot<T: Tables>(listener: &Listener, index: u32, glance: Option<u16>, tables: &T) -> Result<Place, Finish> {
    let slot = match glance {
        Some(backend) => Slot::steady(backend),
        None => tables.slot(listener.slots_base + index).ok_or(Finish::drop(Outcome::NoBackend))?,
    };
    Ok(Place { index, slot })
}

/// The place of the backend with that index in the pool, if the pool has one.
#[inline(always)]
#[must_use]
pub fn place(listener: &Listener, index: u16) -> Option<u32> {
    let index = u32::from(index);
    if index < listener.backends_len { Some(listener.backends_base + index) } else { None }
}

/// Chooses the backend with that index in the pool.
#[inline(always)]
pub fn backend<T: Tables>(listener: &Listener, index: u16, chosen: &mut Chosen, tables: &T) -> Result<(), Finish> {
    let nobody = Finish::drop(Outcome::NoBackend);
    let place = place(listener, index).ok_or(nobody)?;
    let backend = tables.backend(place).ok_or(nobody)?;
    if !backend.is_reachable() {
        return Err(nobody);
    }
    let segment = tables.segment(backend.segment()).ok_or(nobody)?;
    *chosen = Chosen { listener: listener.id, place, backend, segment };
    Ok(())
}
