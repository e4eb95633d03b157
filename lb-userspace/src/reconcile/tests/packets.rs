//! Packets through the maps in memory, by the rule of tracking: a flow whose backend serves keeps it, whatever else happens.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::address::{Address, Port, Ports};
use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::protocol;
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::follow::{self, Packet, follow};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};
use lb_common::track::signal::Signal;
use proptest::prelude::*;

use super::TIMEOUTS;
use crate::reconcile::memory::Memory;
use crate::reconcile::{DataPlane as _, Held};

/// A TCP packet of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    vip: IpAddr,
    client: u8,
    port: u16,
}

/// A packet of each flow that there can be to the VIP of [`super::a_pool_at_work`].
pub(super) fn all_to_one() -> Vec<Sent> {
    let vip = Ipv4Addr::new(192, 0, 2, 10).into();
    (0..4).flat_map(|client| (0..6).map(move |port| Sent { vip, client, port })).collect()
}

/// One of them.
pub(super) fn sent_to_one() -> impl Strategy<Value = Sent> {
    prop::sample::select(all_to_one())
}

pub(super) fn sent() -> impl Strategy<Value = Sent> {
    let v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into();
    let vip = prop::sample::select(vec![Ipv4Addr::new(192, 0, 2, 10).into(), Ipv4Addr::new(192, 0, 2, 11).into(), v6]);
    (vip, 0_u8..4, 0_u16..6).prop_map(|(vip, client, port)| Sent { vip, client, port })
}

impl Sent {
    fn flow(&self) -> Flow {
        let source: Address = match self.vip {
            IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, self.client).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(self.client), 0, 0, 0, 1).into(),
        };
        Flow {
            source,
            destination: self.vip.into(),
            ports: Ports::new(Port::from_host(4_000 + self.port), Port::from_host(80)),
            protocol: protocol::TCP,
        }
    }
}

/// A flow that must stay where it is.
#[derive(Clone, Copy, Debug)]
struct Living {
    pool: u32,
    backend: Address,
    seen: Moment,
}

/// The flows that clients have.
#[derive(Debug, Default)]
pub(super) struct Flows {
    living: HashMap<Flow, Living>,
}

/// The listener of a flow, as the program finds it.
fn listener_of<'a>(flow: &Flow, held: &'a Held) -> Option<&'a Listener> {
    let exact = ListenerKey::exact(flow);
    [exact, ListenerKey { port: Port::ANY, ..exact }, ListenerKey::any_protocol(exact.vip)]
        .iter()
        .find_map(|key| held.listeners.get(key))
}

impl Flows {
    /// Sends a packet, and checks that a living flow goes where it went.
    pub(super) fn send(&mut self, sent: &Sent, plane: &mut Memory) {
        let (flow, now) = (sent.flow(), plane.now());
        let Some(listener) = listener_of(&flow, &plane.held).copied().filter(|listener| listener.slots_len > 0) else {
            self.living.remove(&flow);
            return;
        };
        let silent = Moment::ticks(u64::from(TIMEOUTS.established.min(TIMEOUTS.handshake)) * 1_000);
        let living = self.living.get(&flow).copied();
        let living = living.filter(|living| now.since(living.seen) <= silent && living.pool == listener.pool);
        let signal = if living.is_none() { Signal::FIRST } else { Signal::NONE };
        let maps = Maps { plane: RefCell::new(plane), listener, flow, signal };
        let index = maps.follow();
        let plane = maps.plane.into_inner();
        plane.check();
        if index != NO_BACKEND {
            plane.counters.entry(listener.id).or_default().packets += 1;
        }
        let taken =
            (index != NO_BACKEND).then(|| plane.held.owner(listener.backends_base + u32::from(index))).flatten();
        match (living, taken) {
            (Some(living), taken) => {
                assert_eq!(taken, Some(living.backend), "{flow:?} of {listener:?} was moved");
                self.living.insert(flow, Living { seen: now, ..living });
            }
            (None, Some(backend)) => {
                self.living.insert(flow, Living { pool: listener.pool, backend, seen: now });
            }
            (None, None) => {
                self.living.remove(&flow);
            }
        }
    }

    /// Forgets the flows that lose their backend at this moment.
    pub(super) fn look(&mut self, plane: &Memory) {
        let held = &plane.held;
        self.living.retain(|flow, living| {
            listener_of(flow, held).is_some_and(|listener| {
                let base = listener.backends_base;
                let mut places = held.owners_in(base..base + listener.backends_len);
                let place = places.find(|(_, owner)| *owner == living.backend);
                listener.pool == living.pool && place.is_some_and(|(place, _)| held.backend(place).is_reachable())
            })
        });
    }
}

/// The maps as a packet of one flow sees them, as in lb-ebpf/src/track.rs.
struct Maps<'a> {
    plane: RefCell<&'a mut Memory>,
    listener: Listener,
    flow: Flow,
    signal: Signal,
}

impl Maps<'_> {
    fn follow(&self) -> u16 {
        let slot = self.slot_at(self.index());
        if slot.is_steady() && !self.listener.pins_every_flow() {
            return slot.current();
        }
        follow(&Packet { slot: self.index(), check: 1, protocol: self.flow.protocol, signal: self.signal }, self)
    }

    fn key(&self) -> PinKey {
        PinKey::new(&self.flow, self.listener.pool)
    }

    fn hashed(&self, by_source: bool) -> u32 {
        let hash = match by_source {
            true => hash::source(hash::DEFAULT_KEY, &self.flow.source),
            false => hash::flow(hash::DEFAULT_KEY, &self.flow),
        };
        hash::reduce(hash, self.listener.slots_len)
    }

    fn index(&self) -> u32 {
        self.hashed(self.listener.hash() == Listener::SOURCE_IP)
    }

    fn slot_at(&self, index: u32) -> Slot {
        self.plane.borrow().held.slot(self.listener.slots_base + index)
    }

    fn session_key(&self) -> SessionKey {
        SessionKey::new(&self.flow.source, self.listener.persistence, self.listener.pool)
    }

    fn word(&self, backend: u16) -> lb_common::backend::Backend {
        match u32::from(backend) < self.listener.backends_len {
            true => self.plane.borrow().held.backend(self.listener.backends_base + u32::from(backend)),
            false => lb_common::backend::Backend::UNREACHABLE,
        }
    }
}

impl follow::Memory for Maps<'_> {
    fn slot(&self) -> Slot {
        if !self.listener.pins_every_flow() {
            return self.slot_at(self.index());
        }
        let slot = match self.listener.before {
            Listener::BEFORE_NOTHING => self.slot_at(self.index()),
            Listener::BEFORE_SOURCE_IP => self.slot_at(self.hashed(true)),
            _ => self.slot_at(self.hashed(false)),
        };
        let unpinned = if slot.is_moving() { slot.previous() } else { slot.current() };
        Slot::moving(unpinned, unpinned ^ 1)
    }

    fn choose(&self, slot: Slot) -> u16 {
        if !self.listener.pins_every_flow() {
            return slot.current();
        }
        let session = self.plane.borrow().sessions.get(&self.session_key()).copied();
        let session = session.map(|session| session.backend).filter(|backend| {
            let word = self.word(*backend);
            self.listener.persistence != 0 && word.is_reachable() && !word.is_draining()
        });
        let chosen = session.unwrap_or_else(|| match self.listener.schedule_len {
            0 => self.slot_at(self.index()).current(),
            len => {
                let turn = self.listener.schedule_base + u32::from(self.flow.ports.source().to_host()) % len;
                self.plane.borrow().held.slot(turn).current()
            }
        });
        if self.listener.persistence != 0 {
            let session = Session { backend: chosen, reserved: 0, seen: self.now() };
            self.plane.borrow_mut().sessions.insert(self.session_key(), session);
        }
        chosen
    }

    fn serves(&self, backend: u16) -> bool {
        self.word(backend).is_reachable()
    }

    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin {
        let mut plane = self.plane.borrow_mut();
        let Some(pin) = plane.pins[table as usize].get_mut(&self.key()) else { return Pin::NONE };
        let found = *pin;
        if touch {
            pin.seen = now;
        }
        found
    }

    fn insert(&self, table: Table, pin: &Pin) -> bool {
        self.plane.borrow_mut().pins[table as usize].insert(self.key(), *pin);
        true
    }

    fn remove_young(&self) {
        self.plane.borrow_mut().pins[Table::Young as usize].remove(&self.key());
    }

    fn overflowed(&self) {}

    fn is_crowded(&self) -> bool {
        self.plane.borrow().crowded
    }

    fn now(&self) -> Moment {
        self.plane.borrow().now()
    }
}
