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
mod packets;
mod vlan;

use packets::{Flows, Sent};

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
                }
                Edit::RemoveListener(name) => {
                    keys.insert(self.desired.listeners[name].key());
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
        self.tracker.sync(&self.desired, &self.held, None, false, self.plane.now());
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

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|name| name.parse().expect("a name"))
}

fn vip() -> impl Strategy<Value = Vip> {
    let v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into();
    let v4 = |last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last));
    prop::sample::select(vec![v4(10), v4(10), v4(11), v6]).prop_map(|ip| ip.try_into().expect("a VIP"))
}

fn address() -> impl Strategy<Value = BackendAddr> {
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, last));
    let v4 = |last: u16| IpAddr::from(Ipv4Addr::new(192, 0, 2, 100 + last as u8));
    prop_oneof![4 => (0_u16..24).prop_map(v4), 1 => (0_u16..3).prop_map(v6)]
        .prop_map(|ip| ip.try_into().expect("a backend"))
}

fn interface() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["eth1", "eth2"]).prop_map(str::to_owned)
}

fn new_listener() -> impl Strategy<Value = NewListener> {
    let protocol = prop::sample::select(Protocol::ALL);
    let port = prop::sample::select(vec![0, 80]);
    (name(), vip(), protocol, port, prop::sample::select(vec![7, 13, 29, 41])).prop_map(
        |(name, vip, protocol, port, slots)| NewListener {
            name,
            vip,
            protocol,
            port: if protocol == Protocol::Ip { 0 } else { port },
            algorithm: Algorithm::SourceIpPort,
            persistence: None,
            timeouts: TIMEOUTS,
            allowed: AllowList::default(),
            vip_owner: None,
            source_rate: None,
            max_flows: None,
            slots: Some(slots),
        },
    )
}

fn allowed() -> impl Strategy<Value = AllowList> {
    let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "198.51.100.0/25", "203.0.113.0/24"];
    let prefixes = prefixes.map(|text| text.parse::<Prefix>().expect(text)).to_vec();
    prop::sample::subsequence(prefixes, 0..=5).prop_map(AllowList::from)
}

fn command() -> impl Strategy<Value = Command> {
    let weight = || 0_u16..4;
    let (flag, backup) = (prop::option::of(any::<bool>()), prop::option::weighted(0.3, any::<bool>()));
    let change = (prop::option::of(weight()), flag, backup).prop_map(|(weight, admin_up, backup)| BackendChange {
        weight,
        admin_up,
        backup,
        ..BackendChange::default()
    });
    let algorithm = prop::option::of(prop::sample::select(Algorithm::ALL));
    let session = Persistence { timeout: 2, ipv6_prefix: 64, ipv4_prefix: 32 };
    let persistence = prop::option::weighted(0.2, prop::option::of(Just(session)));
    let max_flows = prop::option::weighted(0.2, prop::option::of(Just(1_000)));
    prop_oneof![
        1 => interface().prop_map(|interface| Command::Attach { interface, mode: AttachMode::Native }),
        1 => interface().prop_map(|interface| Command::Detach { interface }),
        3 => new_listener().prop_map(Command::AddListener),
        3 => (name(), algorithm, persistence, max_flows).prop_map(|(name, algorithm, persistence, max_flows)| Command::SetListener { name, change: ListenerChange { algorithm, persistence, max_flows, ..ListenerChange::default() } }),
        3 => (name(), allowed()).prop_map(|(name, allowed)| Command::SetListener { name, change: ListenerChange { allowed: Some(allowed), ..ListenerChange::default() } }),
        3 => (name(), address()).prop_map(|(listener, address)| Command::DrainBackend { listener, address, deadline: None }),
        1 => name().prop_map(|name| Command::RemoveListener { name }),
        12 => (name(), address(), weight()).prop_map(|(listener, address, weight)| Command::AddBackend { listener, address, weight }),
        3 => (name(), address(), change).prop_map(|(listener, address, change)| Command::SetBackend { listener, address, change }),
        4 => (name(), address()).prop_map(|(listener, address)| Command::RemoveBackend { listener, address }),
    ]
}

fn any_reach() -> impl Strategy<Value = Reach> {
    let resolved = (0_u8..3, 2_u32..5)
        .prop_map(|(last, ifindex)| Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, last]), ifindex });
    let why = prop::sample::select(vec![Unresolved::Asking, Unresolved::NoAnswer, Unresolved::NoRoute]);
    prop_oneof![6 => resolved, 2 => why.prop_map(|why| Reach::Unresolved { why })]
}

fn link() -> impl Strategy<Value = Option<Link>> {
    let parent = prop::option::weighted(0.3, 2_u32..5);
    let link = (2_u32..5, 0_u8..2, parent).prop_map(|(ifindex, last, parent)| Link {
        ifindex,
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        up: true,
        xdp_program: None,
        // The kernel has each VLAN of an interface once.
        vlan: parent.filter(|parent| *parent != ifindex).map(|parent| Vlan { parent, id: 100 + ifindex as u16 }),
    });
    prop::option::weighted(0.8, link)
}

fn step() -> impl Strategy<Value = Step> {
    let share = (name(), vip(), 1_u16..3).prop_map(|(pool, vip, port)| Step::Share { pool, vip, port });
    let many = (name(), 10_u8..24).prop_map(|(listener, count)| Step::AddMany { listener, count });
    prop_oneof![
        1 => many,
        20 => command().prop_map(Step::Command),
        1 => share,
        10 => (address(), any_reach()).prop_map(|(address, reach)| Step::Reach(address, reach)),
        2 => (interface(), link()).prop_map(|(name, link)| Step::Link(name, link)),
        1 => Just(Step::Restart),
        10 => (0_u32..12).prop_map(Step::Time),
        10 => (1_u8..12).prop_map(Step::Sweep),
        25 => packets::sent().prop_map(Step::Send),
    ]
}

/// A listener for every protocol of one VIP, with four backends that serve.
fn a_pool_at_work() -> World {
    let mut world = World::new();
    let link = Link { ifindex: 3, mac: MacAddr([2, 0, 0, 0, 0, 1]), up: true, xdp_program: None, vlan: None };
    world.step(Step::Link("eth1".to_owned(), Some(link)));
    world.step(Step::Command(Command::Attach { interface: "eth1".to_owned(), mode: AttachMode::Native }));
    for last in 0..6 {
        let reach = Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, last]), ifindex: 3 };
        world.step(Step::Reach(pool_address(last), reach));
    }
    let vip = IpAddr::from(Ipv4Addr::new(192, 0, 2, 10)).try_into().expect("a VIP");
    world.step(Step::Command(Command::AddListener(NewListener {
        name: "a".parse().expect("a name"),
        vip,
        protocol: Protocol::Tcp,
        port: 80,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: TIMEOUTS,
        allowed: AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        slots: Some(13),
    })));
    for last in 0..4 {
        let listener = "a".parse().expect("a name");
        world.step(Step::Command(Command::AddBackend { listener, address: pool_address(last), weight: 1 }));
    }
    world.settle();
    world
}

fn pool_address(last: u8) -> BackendAddr {
    IpAddr::from(Ipv4Addr::new(192, 0, 2, 100 + last)).try_into().expect("a backend")
}

/// What happens to the one pool of [`a_pool_at_work`].
fn step_at_work() -> impl Strategy<Value = Step> {
    let listener = || -> Name { "a".parse().expect("a name") };
    let address = || (0_u8..6).prop_map(pool_address);
    let set = move |(address, change)| Step::Command(Command::SetBackend { listener: listener(), address, change });
    let change = prop_oneof![
        (1_u16..4).prop_map(|weight| BackendChange { weight: Some(weight), ..BackendChange::default() }),
        prop::bool::weighted(0.8).prop_map(|up| BackendChange { admin_up: Some(up), ..BackendChange::default() }),
        any::<bool>().prop_map(|backup| BackendChange { backup: Some(backup), ..BackendChange::default() }),
    ];
    let session = Persistence { timeout: 2, ipv6_prefix: 64, ipv4_prefix: 32 };
    let persistence = prop::option::weighted(0.3, prop::option::of(Just(session)));
    let algorithm = prop::option::of(prop::sample::select(Algorithm::ALL));
    // A limit that no test reaches: what it changes is that every flow is pinned.
    let max_flows = prop::option::weighted(0.3, prop::option::of(Just(1_000)));
    let switch = move |(algorithm, persistence, max_flows)| {
        let change = ListenerChange { algorithm, persistence, max_flows, ..ListenerChange::default() };
        Step::Command(Command::SetListener { name: listener(), change })
    };
    let add = move |address| Step::Command(Command::AddBackend { listener: listener(), address, weight: 1 });
    let remove = move |address| Step::Command(Command::RemoveBackend { listener: listener(), address });
    let drain = move |address| Step::Command(Command::DrainBackend { listener: listener(), address, deadline: None });
    prop_oneof![
        2 => (address(), change).prop_map(set),
        2 => (algorithm, persistence, max_flows).prop_map(switch),
        2 => address().prop_map(add),
        1 => address().prop_map(remove),
        1 => address().prop_map(drain),
        1 => Just(Step::Restart),
        8 => (0_u32..12).prop_map(Step::Time),
        8 => (1_u8..24).prop_map(Step::Sweep),
        40 => packets::sent_to_one().prop_map(Step::Send),
    ]
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
