//! The other ways: no state, a least-recently-used table on each CPU, a table of all flows.

use std::collections::HashMap;

use lb_common::protocol;
use lb_common::track::pin::{Moment, Pin, Timeouts};
use lb_common::track::signal::Signal;

use super::lru::Lru;
use super::{Packet, Tracking, moment};

/// The pool as the others see it.
#[derive(Debug, Default)]
struct View {
    table: Vec<u16>,
    up: Vec<bool>,
}

impl View {
    fn hashed(&self, packet: &Packet) -> u16 {
        self.table[packet.slot as usize]
    }

    fn serves(&self, backend: u16) -> bool {
        self.up.get(usize::from(backend)).is_some_and(|up| *up)
    }
}

/// Maglev alone.
#[derive(Debug, Default)]
pub(super) struct Stateless(View);

impl Tracking for Stateless {
    fn name(&self) -> String {
        "Maglev alone".to_owned()
    }

    fn pool_changed(&mut self, table: &[u16], up: &[bool], _now: u64) {
        self.0 = View { table: table.to_vec(), up: up.to_vec() };
    }

    fn packet(&mut self, packet: &Packet, _now: u64) -> u16 {
        self.0.hashed(packet)
    }

    fn second(&mut self, _now: u64) {}

    fn pins(&self) -> usize {
        0
    }
}

/// Maglev and an LRU table on each CPU, as Katran has it: a first packet is hashed and its flow put into the table; another
/// packet takes what the table says, or is hashed and put in. (Katran does not look whether the backend of a flow in the
/// table is alive; this one does.)
#[derive(Debug)]
pub(super) struct CpuLru {
    name: &'static str,
    view: View,
    cpus: Vec<Lru<u16>>,
}

impl CpuLru {
    const CPUS: u64 = 8;

    pub(super) fn new(name: &'static str, room: usize) -> Self {
        let cpus = (0..Self::CPUS).map(|_| Lru::new(room / Self::CPUS as usize)).collect();
        Self { name, view: View::default(), cpus }
    }
}

impl Tracking for CpuLru {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn pool_changed(&mut self, table: &[u16], up: &[bool], _now: u64) {
        self.view = View { table: table.to_vec(), up: up.to_vec() };
    }

    fn packet(&mut self, packet: &Packet, _now: u64) -> u16 {
        let cpu = &mut self.cpus[(packet.flow % Self::CPUS) as usize];
        if !packet.signal.has(Signal::FIRST)
            && let Some(backend) = cpu.get(packet.flow)
            && self.view.serves(*backend)
        {
            return *backend;
        }
        let backend = self.view.hashed(packet);
        cpu.insert(packet.flow, backend);
        backend
    }

    fn second(&mut self, _now: u64) {}

    fn pins(&self) -> usize {
        self.cpus.iter().map(Lru::len).sum()
    }
}

/// A table without end of all flows, from the first packet until they were closed or silent for as long as with drlb.
#[derive(Debug, Default)]
pub(super) struct Full {
    view: View,
    flows: HashMap<u64, Tracked>,
}

#[derive(Debug)]
struct Tracked {
    backend: u16,
    seen: Moment,
    idle: u32,
}

impl Tracking for Full {
    fn name(&self) -> String {
        "table of all flows".to_owned()
    }

    fn pool_changed(&mut self, table: &[u16], up: &[bool], _now: u64) {
        self.view = View { table: table.to_vec(), up: up.to_vec() };
    }

    fn packet(&mut self, packet: &Packet, now: u64) -> u16 {
        let hashed = self.view.hashed(packet);
        let flow = self.flows.entry(packet.flow).or_insert(Tracked { backend: hashed, seen: moment(now), idle: 0 });
        if !self.view.serves(flow.backend) {
            flow.backend = hashed;
        }
        flow.seen = moment(now);
        let state = Pin::state_after(0, protocol::TCP, packet.signal);
        flow.idle = Timeouts::DEFAULT.of(state);
        flow.backend
    }

    fn second(&mut self, now: u64) {
        self.flows.retain(|_, flow| moment(now).since(flow.seen) <= flow.idle);
    }

    fn pins(&self) -> usize {
        self.flows.len()
    }
}
