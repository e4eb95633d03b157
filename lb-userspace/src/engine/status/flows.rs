//! What is remembered of flows, counted and one by one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::flow::Flow;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};

use super::{FlowState, FlowStatus, Flows, TrackingStatus};
use crate::model::{BackendAddr, Desired, Fault, Name};
use crate::reconcile::{DataPlane, Held};
use crate::tracking::Tracker;

/// Counts what is remembered of flows. While there are sweeps it is what the last one found; else it is counted here, and
/// there is next to nothing to count.
///
/// # Errors
/// A map cannot be read.
pub(in crate::engine) fn tracking(tracker: &Tracker, plane: &mut dyn DataPlane) -> Result<TrackingStatus, Fault> {
    let found = tracker.found();
    let mut status = TrackingStatus {
        pins_young: found.young,
        pins_established: found.established,
        sessions: found.sessions,
        overflows: plane.pin_overflows()?,
        unsteady_slots: tracker.unsteady(),
        last_sweep_ms: tracker.took().map(milliseconds),
    };
    if !tracker.has_work() {
        status.pins_young = count(|from| plane.pins(Table::Young, from).map(|(pins, next)| (pins.len(), next)))?;
        status.pins_established =
            count(|from| plane.pins(Table::Established, from).map(|(pins, next)| (pins.len(), next)))?;
        status.sessions = count(|from| plane.sessions(from).map(|(sessions, next)| (sessions.len(), next)))?;
    }
    Ok(status)
}

fn count(mut batch: impl FnMut(Option<u32>) -> Result<(usize, Option<u32>), Fault>) -> Result<u64, Fault> {
    let (mut sum, mut from) = (0, None);
    loop {
        let (count, next) = batch(from)?;
        sum += count as u64;
        match next {
            Some(_) => from = next,
            None => return Ok(sum),
        }
    }
}

/// Lists what is remembered of flows, of one listener or of all, `limit` at most.
///
/// # Errors
/// A map cannot be read.
pub(in crate::engine) fn flows(
    desired: &Desired,
    held: &Held,
    plane: &mut dyn DataPlane,
    only: Option<&Name>,
    limit: usize,
) -> Result<Flows, Fault> {
    let names: BTreeMap<ListenerKey, &Name> =
        desired.listeners.values().map(|listener| (listener.key(), &listener.name)).collect();
    let now = plane.now();
    let mut flows = Flows::default();
    for table in [Table::Established, Table::Young] {
        let mut from = None;
        loop {
            let (pins, next) = plane.pins(table, from)?;
            for (key, pin) in pins {
                let Some((name, listener)) = listener_of(&key, &names, held) else { continue };
                if only.is_some_and(|only| only != name) {
                    continue;
                }
                if flows.flows.len() == limit {
                    flows.cut = true;
                    return Ok(flows);
                }
                flows.flows.push(flow(&key.flow(), &pin, name, listener, held, now));
            }
            match next {
                Some(_) => from = next,
                None => break,
            }
        }
    }
    Ok(flows)
}

/// The listener of a pin, by the steps in which the program finds it.
fn listener_of<'a>(
    pin: &PinKey,
    names: &BTreeMap<ListenerKey, &'a Name>,
    held: &'a Held,
) -> Option<(&'a Name, &'a Listener)> {
    let exact = ListenerKey::exact(&pin.flow());
    let any_port = ListenerKey { port: lb_common::address::Port::ANY, ..exact };
    [exact, any_port, ListenerKey::any_protocol(exact.vip)].into_iter().find_map(|key| {
        let listener = held.listeners.get(&key).filter(|listener| listener.pool == pin.pool())?;
        Some((*names.get(&key)?, listener))
    })
}

fn flow(flow: &Flow, pin: &Pin, name: &Name, listener: &Listener, held: &Held, now: Moment) -> FlowStatus {
    let index = u32::from(pin.backend);
    let owner = (index < listener.backends_len).then(|| held.owner(listener.backends_base + index)).flatten();
    let backend = owner.map(IpAddr::from).and_then(|ip| BackendAddr::try_from(ip).ok());
    FlowStatus {
        listener: name.clone(),
        protocol: flow.protocol,
        source: flow.source.into(),
        source_port: flow.ports.source().to_host(),
        destination: flow.destination.into(),
        destination_port: flow.ports.destination().to_host(),
        backend,
        state: match pin.state {
            Pin::HANDSHAKE => FlowState::Handshake,
            Pin::ESTABLISHED => FlowState::Established,
            Pin::CLOSING => FlowState::Closing,
            Pin::UDP => FlowState::Udp,
            _ => FlowState::Other,
        },
        idle_ms: milliseconds(now.since(pin.seen)),
    }
}

/// Ticks in milliseconds, rounded down.
const fn milliseconds(ticks: u32) -> u64 {
    ((ticks as u64) << 27) / 1_000_000
}
