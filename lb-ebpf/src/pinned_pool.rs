//! Pools whose slots do not tell a flow's backend, so that every flow is pinned: the backend of a flow that began before that
//! was so, and the one that a new flow is given.

use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::Listener;
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{NO_BACKEND, Slot, TOO_MANY_FLOWS};
use lb_common::track::signal::begins_with_a_signal;

use crate::select;
use crate::tables::Tables;

/// Another hash of the same flow, for a choice that its slot has no part in.
const SECOND_HASH: u64 = 0x9e6c_63d0_876a_3f6b;

/// A flow and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The listener.
    pub listener: &'a Listener,
    /// The flow.
    pub flow: &'a Flow,
    /// The flow's slot.
    pub slot: Slot,
}

/// The backend of a flow that began before all flows of the pool were pinned; [`NO_BACKEND`] if there is none such.
#[inline(always)]
pub fn before<T: Tables>(asked: Asked<'_>, tables: &T) -> u16 {
    let Asked { listener, flow, slot } = asked;
    let slot = match listener.before {
        // No flow is left that is not pinned; where a flow's first packet can't be told, this is one.
        Listener::BEFORE_NOTHING if !begins_with_a_signal(flow.protocol) => Slot::EMPTY,
        // This one can only have begun elsewhere, on another balancer, or be older than its pin.
        Listener::BEFORE_NOTHING => slot,
        Listener::BEFORE_SOURCE_IP => slot_of(listener, hash::source(tables.hash_key(), &flow.source), tables),
        _ => slot_of(listener, hash::flow(tables.hash_key(), flow), tables),
    };
    if slot.is_moving() { slot.previous() } else { slot.current() }
}

/// The backend that a new flow takes; [`NO_BACKEND`] if there is none, [`TOO_MANY_FLOWS`] if it would be one more than the
/// listener takes. With `counts` the flow is counted, and its client's session begins or goes on.
#[inline(always)]
pub fn choose<T: Tables>(asked: Asked<'_>, counts: bool, tables: &T) -> u16 {
    let Asked { listener, flow, .. } = asked;
    let limited = listener.guards & Listener::GUARD_FLOWS != 0 && counts;
    if limited && tables.listener_flows(listener.id) >= u64::from(listener.max_flows) {
        return TOO_MANY_FLOWS;
    }
    let mut chosen = session(listener, flow, tables);
    if chosen == NO_BACKEND {
        chosen = by_algorithm(asked, tables);
    }
    if chosen == NO_BACKEND || !counts {
        return chosen;
    }
    if limited {
        tables.count_listener_flow(listener.id);
    }
    if listener.persistence != 0 {
        let key = SessionKey::new(&flow.source, listener.persistence, listener.pool);
        tables.remember_session(&key, &Session { backend: chosen, reserved: 0, seen: tables.now() });
    }
    if let Some(place) = select::place(listener, chosen) {
        tables.count_flow(place);
    }
    chosen
}

/// The backend of the client's session, if it takes new flows.
#[inline(always)]
fn session<T: Tables>(listener: &Listener, flow: &Flow, tables: &T) -> u16 {
    if listener.persistence == 0 {
        return NO_BACKEND;
    }
    let key = SessionKey::new(&flow.source, listener.persistence, listener.pool);
    let Some(session) = tables.session(&key) else {
        return NO_BACKEND;
    };
    let takes = select::place(listener, session.backend).and_then(|place| tables.backend(place));
    if takes.is_some_and(|backend| backend.is_reachable() && !backend.is_draining()) {
        session.backend
    } else {
        NO_BACKEND
    }
}

/// The backend that the pool's algorithm gives a new flow.
#[inline(always)]
fn by_algorithm<T: Tables>(asked: Asked<'_>, tables: &T) -> u16 {
    let Asked { listener, flow, slot } = asked;
    // Read once: what is divided by is what was compared with 0.
    let turns = listener.schedule_len;
    match listener.algorithm {
        Listener::ROUND_ROBIN if turns != 0 => {
            let turn = tables.next_turn(listener.id) % turns;
            tables.slot(listener.schedule_base + turn).unwrap_or(Slot::EMPTY).current()
        }
        Listener::LEAST_CONNECTIONS => {
            let hash = hash::flow(tables.hash_key() ^ SECOND_HASH, flow);
            let one = slot_of(listener, hash, tables).current();
            let other = slot_of(listener, hash << 32, tables).current();
            let load = |index| select::place(listener, index).map(|place| tables.load(place)).unwrap_or_default();
            if load(other).is_less_than(load(one)) { other } else { one }
        }
        _ => slot.current(),
    }
}

#[inline(always)]
fn slot_of<T: Tables>(listener: &Listener, hash: u64, tables: &T) -> Slot {
    let index = hash::reduce(hash, listener.slots_len);
    tables.slot(listener.slots_base + index).unwrap_or(Slot::EMPTY)
}
