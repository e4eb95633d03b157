//! Random commands and random networks: whatever happens, a plan leads to what is wanted, by the way of few and safe
//! changes. What a packet could meet on that way is checked by [`Memory`] after each change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::address::{Address, MacAddr};
use lb_common::listener::{Listener, ListenerKey};
use lb_common::slot::NO_BACKEND;
use lb_common::track::pin::Moment;
use proptest::prelude::*;

use super::memory::Memory;
use super::*;
use crate::health::Unhealthy;
use crate::maglev;
use crate::model::{
    self, Algorithm, AllowList, AttachMode, BackendAddr, BackendChange, Command, Desired, Drain, Edit, Fault,
    ListenerChange, Name, NewListener, Persistence, Prefix, Protocol, Timeouts, Vip, VipOwner,
};
use crate::neighbour::{Link, NetworkView, Reach, Unresolved, Vlan};
use crate::tracking::Tracker;

mod directed;
mod homes;
mod packets;
mod random;
mod vlan;

use packets::{Flows, Sent};
use random::{a_pool_at_work, pool_address, step, step_at_work};

/// Small maps, so that they fill up and break into pieces.
const SIZES: Sizes = Sizes { slots: 288, places: 128, listeners: 5, segments: 6, allowed: 96 };

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    /// A second listener on a pool: no command makes one yet.
    Share {
        pool: Name,
        vip: Vip,
        port: u16,
    },
    /// Many backends at once, so that the pool's region grows.
    AddMany {
        listener: Name,
        count: u8,
    },
    Reach(BackendAddr, Reach),
    Link(String, Option<Link>),
    Restart,
    /// Ticks pass.
    Time(u32),
    /// Some steps of a sweep.
    Sweep(u8),
    /// A client sends a packet.
    Send(Sent),
}

/// Idle times in seconds, short so that they pass in a test.
const TIMEOUTS: Timeouts = Timeouts { handshake: 2, established: 4, closing: 1, udp: 3, other: 3 };

struct World {
    desired: Desired,
    view: NetworkView,
    unhealthy: Unhealthy,
    plane: Memory,
    held: Held,
    tracker: Tracker,
    flows: Flows,
}

impl World {
    fn new() -> Self {
        let plane = Memory::new(SIZES);
        let held = plane.held.clone();
        let (desired, view) = (Desired::default(), NetworkView::default());
        Self {
            desired,
            view,
            unhealthy: Unhealthy::new(),
            plane,
            held,
            tracker: Tracker::new(),
            flows: Flows::default(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Command(command) => {
                let Ok(edits) = self.desired.check(&command, 0) else { return };
                self.edit(edits);
            }
            Step::Share { pool, vip, port } => {
                let name: Name = format!("share-{port}").parse().expect("a name");
                let listener = model::Listener {
                    name,
                    vip,
                    protocol: Protocol::Sctp,
                    port,
                    pool,
                    allowed: AllowList::default(),
                    vip_owner: VipOwner::Xdp,
                    admin_up: true,
                    source_rate: None,
                    max_flows: None,
                };
                let taken = |other: &model::Listener| other.name == listener.name || other.key() == listener.key();
                let family = |pool: &model::Pool| pool.backends.keys().all(|backend| backend.family() == vip.family());
                let fits = self.desired.pools.get(&listener.pool).is_some_and(family);
                if fits && !self.desired.listeners.values().any(taken) {
                    self.edit(vec![Edit::PutListener(listener)]);
                }
            }
            Step::AddMany { listener, count } => {
                let mut edits = Vec::new();
                for last in 0..count {
                    let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, 100 + last)).try_into().expect("a backend");
                    let command = Command::AddBackend { listener: listener.clone(), address, weight: 1 };
                    edits.extend(self.desired.check(&command, 0).unwrap_or_default());
                }
                self.edit(edits);
            }
            Step::Reach(address, reach) => {
                self.view.backends.insert(address, reach);
                let touched = self.desired.pools.values().filter(|pool| pool.backends.contains_key(&address));
                let pools = touched.map(|pool| pool.name.clone()).collect();
                self.reconcile(&Scope::Some { pools, keys: BTreeSet::new() }).expect("room for no new thing");
            }
            Step::Link(name, link) => {
                match link {
                    Some(link) => {
                        self.plane.interfaces.insert(name.clone(), link.ifindex);
                        self.view.links.insert(name, link);
                    }
                    None => {
                        self.plane.interfaces.remove(&name);
                        self.view.links.remove(&name);
                    }
                }
                self.held.attached = self.plane.attached().expect("memory");
                let pools = BTreeSet::new();
                self.reconcile(&Scope::Some { pools, keys: BTreeSet::new() }).expect("room for no new thing");
            }
            Step::Restart => {
                // An agent takes longer to start than a packet takes.
                self.plane.left.clear();
                self.held = self.plane.read().expect("memory");
                // It does not know what the programs that run were loaded for, and renews them before anything else.
                self.held.attached.values_mut().for_each(|attached| attached.station = None);
                let renewed = plan_links(&self.desired, &self.view, &self.held).first;
                renewed.iter().for_each(|change| self.link(change));
                for (key, _) in self.plane.pins.iter().flatten() {
                    self.held.saw_pool(key.pool());
                }
                self.tracker = Tracker::new();
                self.tracker.sync(&self.desired, &self.held, None, true, self.plane.now());
            }
            Step::Time(ticks) => self.plane.now = Moment(self.plane.now.0.wrapping_add(ticks)),
            Step::Sweep(steps) => (0..steps).for_each(|_| self.sweep()),
            Step::Send(sent) => self.flows.send(&sent, &mut self.plane),
        }
        self.flows.look(&self.plane);
        self.verify();
    }

    /// One step of a sweep.
    fn sweep(&mut self) {
        let step = self.tracker.step(&mut self.plane, &self.held).expect("memory");
        self.apply(&step.changes);
        for (pool, address) in step.drained {
            let mut backend = self.desired.pools[&pool].backends[&address].clone();
            backend.drain = backend.drain.map(|drain| Drain { drained: true, ..drain });
            self.edit(vec![Edit::PutBackend(pool, backend)]);
        }
    }

    fn apply(&mut self, changes: &[Change]) {
        let now = self.plane.now();
        for change in changes {
            if let Change::WriteSlots { base, moves } = change {
                self.only_what_moves_is_written(*base, moves);
            }
            let change = std::slice::from_ref(change);
            apply(change, &mut self.plane, &mut self.held, |change| self.tracker.note(change, now)).expect("memory");
        }
    }

    /// Lets time pass until there is nothing to look after, apart from pools that pin every flow.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.plane.now = Moment(self.plane.now.0.wrapping_add(Moment::ticks(3_000)));
            while !self
                .tracker
                .step(&mut self.plane, &self.held)
                .map(|step| {
                    let last = step.last;
                    self.apply(&step.changes);
                    for (pool, address) in step.drained {
                        let mut backend = self.desired.pools[&pool].backends[&address].clone();
                        backend.drain = backend.drain.map(|drain| Drain { drained: true, ..drain });
                        self.edit(vec![Edit::PutBackend(pool, backend)]);
                    }
                    last
                })
                .expect("memory")
            {}
        }
        self.verify();
        assert_eq!(self.tracker.unsteady(), 0, "after all idle times every slot is steady");
        assert_eq!(self.plane.pins, <[_; 2]>::default(), "after all idle times no pin is left");
        let owned = self.plane.held.owners_in(0..SIZES.places).count();
        let wanted: usize = self.desired.pools.values().map(|pool| pool.backends.len()).sum();
        assert_eq!(owned, wanted, "the places of those that are gone are free");
        for pool in self.desired.pools.values() {
            let drains = pool.backends.values().filter_map(|backend| backend.drain);
            let served = self.desired.listeners_of(&pool.name).next().is_some();
            assert!(!served || drains.into_iter().all(|drain| drain.drained), "{pool:?} has drained");
        }
        for listener in self.plane.held.listeners.values() {
            assert_eq!(listener.before, Listener::BEFORE_NOTHING, "no flow of before is left");
        }
    }

    fn edit(&mut self, edits: Vec<Edit>) {
        let mut keys = BTreeSet::new();
        let mut pools = BTreeSet::new();
        for edit in &edits {
            match edit {
                Edit::PutListener(listener) => {
                    keys.insert(listener.key());
                    pools.extend(self.desired.listeners.get(&listener.name).map(|before| before.pool.clone()));
                }
                Edit::RemoveListener(name) => {
                    keys.insert(self.desired.listeners[name].key());
                    pools.insert(self.desired.listeners[name].pool.clone());
                }
                Edit::PutPool(settings) => {
                    pools.insert(settings.name.clone());
                }
                Edit::PutBackend(pool, _) | Edit::RemoveBackend(pool, _) => {
                    pools.insert(pool.clone());
                }
                Edit::RemovePool(_) | Edit::PutInterface(_) | Edit::RemoveInterface(_) | Edit::PutFromFile(_) => {}
            }
        }
        let undo = self.desired.edit_all(edits);
        let scope = Scope::Some { pools, keys };
        if self.reconcile(&scope).is_err() {
            self.desired.edit_all(undo);
            self.reconcile(&scope).expect("the way back");
        }
    }

    fn reconcile(&mut self, scope: &Scope) -> Result<(), Fault> {
        let links = plan_links(&self.desired, &self.view, &self.held);
        for change in &links.first {
            self.link(change);
        }
        let changes = plan(&self.desired, &self.view, &self.unhealthy, &self.held, scope)?;
        self.apply(&changes);
        let pools = match scope {
            Scope::All => None,
            Scope::Rest => Some(BTreeSet::new()),
            Scope::Some { pools, keys } => {
                let served = keys.iter().flat_map(|key| self.desired.listeners_on(*key));
                Some(pools.iter().cloned().chain(served.map(|listener| listener.pool.clone())).collect())
            }
        };
        self.tracker.sync(&self.desired, &self.held, pools.as_ref(), false, self.plane.now());
        for change in &links.last {
            self.link(change);
        }
        Ok(())
    }

    fn link(&mut self, change: &LinkChange) {
        self.plane.link(change).expect("memory");
        self.held.attached = self.plane.held.attached.clone();
    }

    fn only_what_moves_is_written(&self, base: u32, moves: &[(u32, lb_common::slot::Slot)]) {
        if self.held.listeners.values().any(|listener| listener.slots_base == base && listener.slots_len > 0) {
            for (index, slot) in moves {
                assert_ne!(self.plane.held.slot(base + index), *slot, "slot {index} did not have to be written");
            }
        }
    }

    /// The maps hold exactly what is wanted, and both plans of it are empty, from the image in memory and from what an
    /// agent that starts anew would read.
    fn verify(&mut self) {
        let read = self.plane.read().expect("memory");
        for held in [&self.held, &read] {
            assert_eq!(plan(&self.desired, &self.view, &self.unhealthy, held, &Scope::All), Ok(vec![]));
            assert_eq!(plan(&self.desired, &self.view, &self.unhealthy, held, &Scope::Rest), Ok(vec![]));
            assert_eq!(plan_links(&self.desired, &self.view, held), LinkPlan::default());
        }
        let held = &self.plane.held;
        let keys: BTreeSet<ListenerKey> = self.desired.listeners.values().map(|listener| listener.key()).collect();
        assert_eq!(held.listeners.keys().copied().collect::<BTreeSet<_>>(), keys);
        let vips: BTreeSet<Address> = keys.iter().map(|key| key.vip).collect();
        assert_eq!(held.vips.keys().copied().collect::<BTreeSet<_>>(), vips);
        let ids: BTreeSet<u32> = held.listeners.values().map(|listener| listener.id).collect();
        assert_eq!(ids.len(), keys.len(), "two listeners share counters");
        let owned = held.owners_in(0..SIZES.places).count();
        let wanted: usize = self.desired.pools.values().map(|pool| pool.backends.len()).sum();
        assert!(owned >= wanted);
        for listener in self.desired.listeners.values() {
            self.verify_table(&held.listeners[&listener.key()], self.desired.pool_of(listener).expect("its pool"));
            self.verify_allowed(&held.listeners[&listener.key()], &listener.allowed);
        }
    }

    /// A packet meets the listener's list, whole, and no other one's.
    fn verify_allowed(&self, listener: &Listener, list: &AllowList) {
        assert_eq!(listener.guards & Listener::GUARD_ALLOW != 0, !list.is_empty());
        let words = self.plane.allowed.get(&listener.allow_base).map_or(&[][..], |words| words);
        let word = |at: u32| words.get(at.checked_sub(listener.allow_base)? as usize).copied();
        for client in
            ["10.0.0.1", "10.1.2.3", "192.0.2.7", "198.51.100.127", "198.51.100.128", "203.0.113.255", "0.0.0.0"]
        {
            let address: Ipv4Addr = client.parse().expect("an address");
            let holds = |prefix: &Prefix| {
                let IpAddr::V4(first) = prefix.address() else { return false };
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(prefix.length())
            };
            let expected = list.prefixes().iter().any(holds);
            let bits = lb_common::allow::Bits::of(&address.into());
            let found = !list.is_empty() && lb_common::allow::allows(listener.allow_root(), bits, word);
            assert_eq!(found, expected, "{client} by {list:?}");
        }
    }

    fn verify_table(&self, listener: &Listener, pool: &model::Pool) {
        let held = &self.plane.held;
        let segments = held_segments(held, &self.view);
        let place_of = |address: Address| {
            let mut places = held.owners_in(listener.backends_base..listener.backends_base + listener.backends_len);
            places.find(|(_, owner)| *owner == address).expect("each backend has a place").0
        };
        let serving: Vec<&model::Backend> = (pool.backends.values())
            .filter(|backend| backend.admin_up && backend.weight > 0 && backend.drain.is_none())
            .filter(|backend| {
                let now = held.backend(place_of(backend.address.address()));
                reach(backend.address, &self.view, &segments, now).is_ok()
            })
            .collect();
        let others_serve = serving.iter().any(|backend| !backend.backup);
        let serving: Vec<(Address, u16)> = (serving.into_iter())
            .filter(|backend| !backend.backup || !others_serve)
            .map(|backend| (backend.address.address(), backend.weight))
            .collect();
        let table = maglev::table(&serving, listener.slots_len);
        for (index, expected) in (0..listener.slots_len).zip(table) {
            let slot = held.slot(listener.slots_base + index).current();
            let found = (slot != NO_BACKEND).then(|| held.owner(listener.backends_base + u32::from(slot))).flatten();
            assert_eq!(found, serving.get(usize::from(expected)).map(|backend| backend.0));
        }
        for backend in pool.backends.values() {
            let address = backend.address.address();
            let place = place_of(address);
            let takes = serving.iter().find(|serving| serving.0 == address).map_or(0, |serving| serving.1);
            assert_eq!(held.weight(place), u32::from(takes), "the load of {address:?}");
            let word = held.backend(place);
            assert!(takes == 0 || (word.is_reachable() && !word.is_draining()), "{address:?}: {word:?}");
            assert!(takes > 0 || !word.is_reachable() || word.is_draining(), "{address:?}: {word:?}");
        }
        if listener.algorithm == Listener::ROUND_ROBIN {
            let turns = (0..listener.schedule_len).map(|turn| held.slot(listener.schedule_base + turn).current());
            let turns: BTreeSet<_> =
                turns.map(|turn| held.owner(listener.backends_base + u32::from(turn)).expect("a backend")).collect();
            assert_eq!(turns, serving.iter().map(|backend| backend.0).collect(), "each has a turn");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_leads_to_what_is_wanted_by_safe_steps(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            // Two interfaces never have one index, whatever the draw says.
            if let Step::Link(name, Some(link)) = &step
                && world.view.links.iter().any(|(other, known)| other != name && known.ifindex == link.ifindex)
            {
                continue;
            }
            world.step(step);
        }
        world.settle();
    }

    #[test]
    fn a_flow_whose_backend_serves_is_never_moved(steps in prop::collection::vec(step_at_work(), 1..300)) {
        let mut world = a_pool_at_work();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }

    #[test]
    fn a_plan_that_was_cut_short_is_completed(steps in prop::collection::vec(step(), 1..60), cut in 0_usize..40) {
        let mut world = World::new();
        for step in steps {
            if let Step::Command(command) = &step && let Ok(edits) = world.desired.check(command, 0) {
                let _ = world.desired.edit_all(edits);
            } else if let Step::Reach(address, reach) = step {
                world.view.backends.insert(address, reach);
            }
        }
        let link = Link { ifindex: 3, mac: MacAddr([2, 0, 0, 0, 0, 1]), up: true, xdp_program: None, vlan: None };
        world.plane.interfaces.insert("eth1".to_owned(), link.ifindex);
        world.view.links = BTreeMap::from([("eth1".to_owned(), link)]);
        let Ok(changes) = plan(&world.desired, &world.view, &world.unhealthy, &world.held, &Scope::All) else { return Ok(()) };
        world.plane.changes_left = Some(cut);
        let _ = apply(&changes, &mut world.plane, &mut world.held, |_| ());
        world.plane.changes_left = None;
        world.held = world.plane.read().expect("memory");
        world.tracker.sync(&world.desired, &world.held, None, true, world.plane.now());
        world.reconcile(&Scope::All).expect("room, as before");
        world.verify();
    }
}
