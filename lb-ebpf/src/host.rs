//! The maps as plain collections, so that the pipeline runs on the host: for tests that compare it with the program.

use core::cell::RefCell;
use std::collections::HashMap;
use std::vec::Vec;

use lb_common::address::{Address, MacAddr};
use lb_common::backend::{Backend, Segment};
use lb_common::hash::DEFAULT_KEY;
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::{Counter, Outcome};
use lb_common::slot::Slot;

use crate::tables::Tables;

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
    /// Segments by index.
    pub segments: Vec<Segment>,
    /// Counters.
    pub counters: RefCell<Counters>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By outcome.
    pub outcomes: HashMap<Outcome, Counter>,
    /// By a listener's id.
    pub listeners: HashMap<u32, Counter>,
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
            segments: Vec::new(),
            counters: RefCell::default(),
        }
    }
}

fn count(counter: &mut Counter, bytes: u32) {
    *counter = counter.plus(Counter { packets: 1, bytes: u64::from(bytes) });
}

impl Tables for HostTables {
    fn own_mac(&self) -> MacAddr {
        self.own_mac
    }

    fn hash_key(&self) -> u64 {
        self.hash_key
    }

    fn ingress_ifindex(&self) -> u32 {
        self.ingress_ifindex
    }

    fn vip(&self, address: &Address) -> Option<Vip> {
        self.vips.get(address).copied()
    }

    fn listener(&self, key: &ListenerKey) -> Option<Listener> {
        self.listeners.get(key).copied()
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).copied()
    }

    fn backend(&self, place: u32) -> Option<Backend> {
        self.backends.get(place as usize).copied()
    }

    fn segment(&self, index: u16) -> Option<Segment> {
        self.segments.get(usize::from(index)).copied()
    }

    fn count_outcome(&self, outcome: Outcome, bytes: u32) {
        count(self.counters.borrow_mut().outcomes.entry(outcome).or_default(), bytes);
    }

    fn count_listener(&self, id: u32, bytes: u32) {
        count(self.counters.borrow_mut().listeners.entry(id).or_default(), bytes);
    }

    fn count_backend(&self, place: u32, bytes: u32) {
        count(self.counters.borrow_mut().backends.entry(place).or_default(), bytes);
    }
}
