//! The maps as plain collections, so that the pipeline runs on the host: for tests that compare it with the program.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec::Vec;

use lb_common::address::{Address, MacAddr, RaisedMac};
use lb_common::allow::{self, Bits, Root};
use lb_common::backend::{Backend, Load, Segment};
use lb_common::event::Event;
use lb_common::fragment::{DatagramKey, Trail};
use lb_common::hash::DEFAULT_KEY;
use lb_common::limits::{MAX_ESTABLISHED_PINS, MAX_GLANCES};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::{Counter, Outcome, Refused};
use lb_common::probe::{ProbeKey, ProbeTarget};
use lb_common::protocol;
use lb_common::rate::{self, SourceKey};
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{Glance, GlancePair, Slot};
use lb_common::track::pin::{Moment, Pin, PinKey, Pinned, Table};

use crate::finish::{Finish, Verdict};
use crate::fragments;
use crate::known::Known;
use crate::packet::Packet;
use crate::parse::{self, Headers};
use crate::pinned_pool::Asked;
use crate::select::{Chosen, Place};
use crate::tables::Tables;
use crate::track::{self, Request};
use crate::vip_traffic;
use crate::{pinned_pool, pipeline, probe, rewrite};

/// What the BPF maps and globals hold.
#[derive(Clone, Debug)]
pub struct HostTables {
    /// Our MAC on the interface that packets come in by.
    pub own_mac: MacAddr,
    /// The key of the flow hash.
    pub hash_key: u64,
    /// The interface that packets come in by.
    pub ingress_ifindex: u32,
    /// VIPs by address.
    pub vips: HashMap<Address, Vip>,
    /// Listeners by key.
    pub listeners: HashMap<ListenerKey, Listener>,
    /// Slots of all pools.
    pub slots: Vec<Slot>,
    /// Backends by place.
    pub backends: Vec<Backend>,
    /// Words of the allow-lists.
    pub allowed: Vec<u64>,
    /// Segments by index.
    pub segments: Vec<Segment>,
    /// Targets of probes, by who sent them.
    pub probes: HashMap<ProbeKey, ProbeTarget>,
    /// Counters.
    pub counters: RefCell<Counters>,
    /// What is remembered of flows.
    pub memory: RefCell<FlowMemory>,
    /// What the agent was told.
    pub events: RefCell<Vec<Event>>,
    /// The time.
    pub now: Cell<Moment>,
    /// The same in nanoseconds.
    pub nanos: Cell<u64>,
}

/// What is remembered of flows and clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowMemory {
    /// Pins of flows that only what could be their first packet was seen of. Never full here: the LRU map's choice of
    /// what makes way is the kernel's.
    pub young: HashMap<PinKey, Pin>,
    /// Pins of flows at work.
    pub established: HashMap<PinKey, Pin>,
    /// Sessions of clients.
    pub sessions: HashMap<SessionKey, Session>,
    /// Where the first fragments of datagrams went. Never full here.
    pub trails: HashMap<DatagramKey, Trail>,
    /// Loads by place.
    pub loads: HashMap<u32, Load>,
    /// When sources' buckets are full again, in nanoseconds.
    pub sources: HashMap<SourceKey, u64>,
    /// Flows by a listener's id, where they are limited.
    pub listener_flows: HashMap<u32, u64>,
    /// Turns by a listener's id.
    pub turns: HashMap<u32, u32>,
    /// Pins that there was no room for.
    pub overflows: u64,
    /// The tables of pins are marked as crowded.
    pub crowded: bool,
}

impl FlowMemory {
    fn table(&mut self, table: Table) -> &mut HashMap<PinKey, Pin> {
        match table {
            Table::Young => &mut self.young,
            Table::Established => &mut self.established,
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By outcome.
    pub outcomes: HashMap<Outcome, Counter>,
    /// By a listener's id.
    pub listeners: HashMap<u32, Counter>,
    /// What listeners refused, by their ids.
    pub refused: HashMap<u32, Refused>,
    /// By a backend's place.
    pub backends: HashMap<u32, Counter>,
}

impl HostTables {
    /// Empty maps, seen from an interface.
    #[must_use]
    pub fn new(own_mac: MacAddr, ingress_ifindex: u32) -> Self {
        Self {
            own_mac,
            hash_key: DEFAULT_KEY,
            ingress_ifindex,
            vips: HashMap::new(),
            listeners: HashMap::new(),
            slots: Vec::new(),
            backends: Vec::new(),
            allowed: Vec::new(),
            segments: Vec::new(),
            probes: HashMap::new(),
            counters: RefCell::default(),
            memory: RefCell::default(),
            events: RefCell::default(),
            now: Cell::default(),
            nanos: Cell::default(),
        }
    }

    /// The segment that packets without a tag come in from.
    #[must_use]
    pub fn home_segment(&self) -> Option<u16> {
        let index = self.segments.iter().position(|segment| segment.is_untagged_on(self.ingress_ifindex.into()))?;
        u16::try_from(index).ok()
    }
}

fn count(counter: &mut Counter, bytes: usize) {
    *counter = counter.plus(Counter { packets: 1, bytes: bytes as u64 });
}

impl Tables for HostTables {
    fn own_mac(&self) -> RaisedMac {
        RaisedMac::new(self.own_mac)
    }

    fn hash_key(&self) -> u64 {
        self.hash_key
    }

    fn ingress_ifindex(&self) -> u64 {
        self.ingress_ifindex.into()
    }

    fn home(&self) -> u64 {
        self.home_segment().map_or(Backend::ON_NONE, Backend::on)
    }

    fn vip(&self, address: &Address) -> Option<Vip> {
        self.vips.get(address).copied()
    }

    fn listener(&self, key: &ListenerKey) -> Option<&Listener> {
        self.listeners.get(key)
    }

    fn listener_at_home(&self, key: &ListenerKey) -> Option<&Listener> {
        self.listener(key).filter(|_| key.protocol != protocol::ANY)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).copied()
    }

    fn glance(&self, index: u32) -> Option<u16> {
        self.slot(index).filter(|_| index < MAX_GLANCES).and_then(|slot| Glance::of(slot).backend())
    }

    fn glance_at_pair(&self, index: u32) -> Option<u16> {
        let slot = self.slot(index).filter(|_| index < MAX_GLANCES)?;
        GlancePair(0).with(index, slot).backend(index)
    }

    fn backend(&self, place: u32) -> Option<Backend> {
        self.backends.get(place as usize).copied()
    }

    fn segment(&self, index: u16) -> Option<Segment> {
        self.segments.get(usize::from(index)).copied()
    }

    fn parse(&self, packet: &Packet<'_>, headers: &mut Headers) {
        parse::run(packet, RaisedMac::new(self.own_mac), headers);
    }

    fn answer(&self, packet: &Packet<'_>, headers: &Headers) -> Finish {
        vip_traffic::answer(packet, headers.kind, headers.network, headers.transport, self)
    }

    fn track(&self, packet: &Packet<'_>, headers: &Headers, listener: &Listener, place: Place) -> u16 {
        let signal = parse::signal(packet, headers);
        track::run(Request { listener, flow: &headers.flow, place, signal }, self)
    }

    fn backend_before(&self, asked: Asked<'_>) -> u16 {
        pinned_pool::before(asked, self)
    }

    fn choose_for_new(&self, asked: Asked<'_>, counts: bool) -> u16 {
        pinned_pool::choose(asked, counts, self)
    }

    fn keep<'a>(&self, headers: &'a Headers) -> Option<&'a Headers> {
        Some(headers)
    }

    fn send(&self, packet: &mut Packet<'_>, headers: &Headers, listener: &Listener, backend: u16) -> Verdict {
        pipeline::send(packet, headers, listener, backend, self)
    }

    fn find_slot(&self, packet: &Packet<'_>, known: &mut Known) -> Result<(), Finish> {
        pipeline::find_slot(packet, known, self)
    }

    fn retag(&self, packet: &mut Packet<'_>, headers: &Headers, chosen: &Chosen) -> bool {
        rewrite::retag(packet, headers, chosen)
    }

    fn follow_fragment(&self, headers: &mut Headers, chosen: &mut Chosen) -> Result<(), Finish> {
        fragments::follow(headers, chosen, self)
    }

    fn leave_first(&self, headers: &mut Headers, chosen: &mut Chosen) {
        fragments::leave(headers, chosen, self);
    }

    fn trail(&self, key: &DatagramKey) -> Option<Trail> {
        self.memory.borrow().trails.get(key).copied()
    }

    fn leave_trail(&self, key: &DatagramKey, trail: &Trail) {
        self.memory.borrow_mut().trails.insert(*key, *trail);
    }

    fn is_probing(&self) -> bool {
        !self.probes.is_empty()
    }

    fn probe(&self, key: &ProbeKey) -> Option<ProbeTarget> {
        self.probes.get(key).copied()
    }

    fn answers_probe(&self, packet: &Packet<'_>, headers: &mut Headers, chosen: &mut Chosen) -> bool {
        probe::is_answer(packet, headers, chosen, self)
    }

    fn now(&self) -> Moment {
        self.now.get()
    }

    fn pin(&self, table: Table, pinned: Pinned<'_>, now: Moment, touch: bool) -> Pin {
        let mut memory = self.memory.borrow_mut();
        let Some(pin) = memory.table(table).get_mut(&pinned.key()) else {
            return Pin::NONE;
        };
        let found = *pin;
        if touch {
            pin.seen = now;
        }
        found
    }

    fn insert_pin(&self, table: Table, pinned: Pinned<'_>, pin: &Pin) -> bool {
        let mut memory = self.memory.borrow_mut();
        let pins = memory.table(table);
        let full = table == Table::Established && pins.len() >= MAX_ESTABLISHED_PINS as usize;
        if full && !pins.contains_key(&pinned.key()) {
            return false;
        }
        pins.insert(pinned.key(), *pin);
        true
    }

    fn remove_young_pin(&self, pinned: Pinned<'_>) {
        self.memory.borrow_mut().young.remove(&pinned.key());
    }

    fn pin_overflowed(&self) {
        let mut memory = self.memory.borrow_mut();
        memory.overflows += 1;
        memory.crowded = true;
    }

    fn pins_are_crowded(&self) -> bool {
        self.memory.borrow().crowded
    }

    fn session(&self, key: &SessionKey) -> Option<Session> {
        self.memory.borrow().sessions.get(key).copied()
    }

    fn remember_session(&self, key: &SessionKey, session: &Session) {
        self.memory.borrow_mut().sessions.insert(*key, *session);
    }

    fn load(&self, place: u32) -> Load {
        self.memory.borrow().loads.get(&place).copied().unwrap_or_default()
    }

    fn count_flow(&self, place: u32) {
        self.memory.borrow_mut().loads.entry(place).or_default().flows += 1;
    }

    fn next_turn(&self, listener: u32) -> u32 {
        let mut memory = self.memory.borrow_mut();
        let turn = memory.turns.entry(listener).or_default();
        let now = *turn;
        *turn = now.wrapping_add(1);
        now
    }

    fn allows(&self, root: Root, source: Bits) -> bool {
        allow::allows(root, source, |index| self.allowed.get(index as usize).copied())
    }

    fn source_may_begin(&self, listener: &Listener, client: &Address) -> bool {
        let key = SourceKey::new(client, listener.rate_prefix, listener.id);
        let mut memory = self.memory.borrow_mut();
        let full = memory.sources.get(&key).copied().unwrap_or(0);
        let after = rate::take(full, self.nanos.get(), listener.rate_interval, listener.rate_burst);
        after.map(|after| memory.sources.insert(key, after)).is_some()
    }

    fn listener_flows(&self, id: u32) -> u64 {
        self.memory.borrow().listener_flows.get(&id).copied().unwrap_or(0)
    }

    fn count_listener_flow(&self, id: u32) {
        *self.memory.borrow_mut().listener_flows.entry(id).or_default() += 1;
    }

    fn tell(&self, event: &Event) {
        self.events.borrow_mut().push(*event);
    }

    fn count_refusal(&self, id: u32, outcome: Outcome) {
        let mut counters = self.counters.borrow_mut();
        counters.refused.entry(id).or_default().count(outcome);
    }

    fn count_outcome(&self, outcome: Outcome, bytes: usize) {
        count(self.counters.borrow_mut().outcomes.entry(outcome).or_default(), bytes);
    }

    fn count_sent(&self, chosen: &Chosen, outcome: Outcome, bytes: usize) {
        self.count_outcome(outcome, bytes);
        let mut counters = self.counters.borrow_mut();
        count(counters.listeners.entry(chosen.listener).or_default(), bytes);
        count(counters.backends.entry(chosen.place).or_default(), bytes);
    }
}
