//! A host for the engine: the store, the data plane and the network, which outlive an agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use lb_common::address::MacAddr;
use lb_common::listener::Listener;

use super::address;
use crate::engine::core::{Core, Stored};
use crate::model::{Fault, Tables, VipOwner};
use crate::neighbour::{Link, NetworkView, Reach};
use crate::reconcile::memory::Memory;
use crate::reconcile::{DataPlane as _, Sizes, work};
use crate::store::{Change, Entry, Kind, Store};

pub(super) fn settings() -> crate::octavia::Settings {
    crate::octavia::Settings {
        project: "home".to_owned(),
        data_plane: true,
        networks: crate::octavia::networks::Networks::default(),
    }
}

const SIZES: Sizes = Sizes { slots: 512, places: 256, listeners: 8, segments: 4, allowed: 64 };

#[derive(Default)]
pub(super) struct Entries {
    pub(super) entries: BTreeMap<(Kind, String), Entry>,
    pub(super) refuses: bool,
    /// How many changes were made.
    pub(super) changed: usize,
    /// How many pools had been planned when the last of them was.
    pub(super) planned: usize,
}

impl Store for Arc<Mutex<Entries>> {
    fn load(&self) -> Result<Vec<Entry>, Fault> {
        Ok(self.lock().expect("entries").entries.values().cloned().collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let mut store = self.lock().expect("entries");
        if store.refuses {
            return Err(Fault::unavailable("the disk is full"));
        }
        store.changed += changes.len();
        store.planned = work::pools_planned();
        for change in changes {
            match change {
                Change::Put(entry) => store.entries.insert((entry.kind, entry.key.clone()), entry.clone()),
                Change::Delete { kind, key } => store.entries.remove(&(*kind, key.clone())),
            };
        }
        Ok(())
    }
}

/// What outlives an agent.
pub(super) struct Host {
    pub(super) store: Arc<Mutex<Entries>>,
    pub(super) plane: Arc<Mutex<Memory>>,
    pub(super) view: NetworkView,
}

impl Host {
    pub(super) fn new() -> Self {
        Self::of(SIZES)
    }

    /// One with maps of these sizes.
    pub(super) fn of(sizes: Sizes) -> Self {
        let mut host = Self {
            store: Arc::default(),
            plane: Arc::new(Mutex::new(Memory::new(sizes))),
            view: NetworkView::default(),
        };
        host.link("eth1", 2, 1);
        host.link("eth2", 3, 2);
        for last in 21..60 {
            let mac = MacAddr([2, 0, 0, 0, 1, last]);
            host.view.backends.insert(address(last), Reach::Resolved { mac, ifindex: 2 });
        }
        host
    }

    pub(super) fn link(&mut self, name: &str, ifindex: u32, last: u8) {
        let link = Link { ifindex, mac: MacAddr([2, 0, 0, 0, 0, last]), up: true, xdp_program: None, vlan: None };
        self.view.links.insert(name.to_owned(), link);
        self.plane().interfaces.insert(name.to_owned(), ifindex);
    }

    pub(super) fn plane(&self) -> MutexGuard<'_, Memory> {
        self.plane.lock().expect("memory")
    }

    pub(super) fn boot(&self) -> Core {
        let (store, plane) = (Box::new(Arc::clone(&self.store)), Box::new(Arc::clone(&self.plane)));
        let entries = store.load().expect("entries");
        let stored = Stored::of(store, &entries, settings(), VipOwner::Xdp, Tables::default()).expect("what is stored");
        Core::new(stored, plane).expect("a core")
    }

    /// A core that has seen the network.
    pub(super) fn start(&self) -> Core {
        let mut core = self.boot();
        self.look(&mut core);
        core
    }

    pub(super) fn look(&self, core: &mut Core) {
        core.network_changed(Arc::new(self.view.clone())).expect("a picture of the network");
    }

    /// All that a failed command must leave as it was: what the store holds, and what packets meet. Which place a
    /// backend has, which counters a listener has and which number a pool may differ when they were taken out and put back,
    /// and slots may have to settle.
    pub(super) fn state(&self) -> String {
        let (entries, held) = (&self.store.lock().expect("entries").entries, &mut *self.plane());
        let read = held.read().expect("memory");
        let places = read.owners_in(0..SIZES.places).filter(|(place, _)| read.backend(*place).is_reachable()).count();
        let mut tables = Vec::new();
        for (key, listener) in read.listeners.iter() {
            let owner_of = |index| {
                let current = read.slot(listener.slots_base + index).current();
                read.owner(listener.backends_base + u32::from(current))
            };
            let table: Vec<_> = (0..listener.slots_len).map(owner_of).collect();
            tables.push((key, Listener { id: 0, pool: 0, ..*listener }, table));
        }
        let (vips, segments, attached) = (&read.vips, &read.segments, &read.attached);
        format!("{entries:?} {tables:?} {vips:?} {segments:?} {attached:?} {places}")
    }
}
