//! Step 3, select: the backend that a flow goes to.

use lb_common::backend::{Backend, Segment};
use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::Listener;
use lb_common::outcome::Outcome;

use crate::finish::Finish;
use crate::tables::Tables;

/// The backend that was chosen, and what it takes to send there and to count.
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

/// Hashes the flow into the pool's lookup table and takes the backend of the slot.
#[inline(always)]
pub fn run<T: Tables>(listener: &Listener, flow: &Flow, tables: &T) -> Result<Chosen, Finish> {
    find(listener, flow, tables).ok_or(Finish::drop(Outcome::NoBackend))
}

#[inline(always)]
fn find<T: Tables>(listener: &Listener, flow: &Flow, tables: &T) -> Option<Chosen> {
    if listener.slots_len == 0 {
        return None;
    }
    let hash = match listener.hash {
        Listener::HASH_SOURCE => hash::source(tables.hash_key(), &flow.source),
        _ => hash::flow(tables.hash_key(), flow),
    };
    let slot = tables.slot(listener.slots_base + hash::reduce(hash, listener.slots_len))?;
    let index = u32::from(slot.current());
    if index >= listener.backends_len {
        return None;
    }
    let place = listener.backends_base + index;
    let backend = tables.backend(place)?;
    if !backend.is_reachable() {
        return None;
    }
    let segment = tables.segment(backend.segment())?;
    Some(Chosen { listener: listener.id, place, backend, segment })
}
