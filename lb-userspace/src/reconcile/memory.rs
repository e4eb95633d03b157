//! A data plane in memory, for tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard};

use lb_common::listener::Listener;
use lb_common::outcome::{Counter, Outcome, Refused};
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::pin::{Moment, Pin, PinKey, Table, Timing};

use super::{Attached, Batch, Change, DataPlane, Held, LinkChange, Sizes};
use crate::model::{AttachMode, Fault, XdpMode};

/// A data plane that a test can look into while the engine has it.
impl DataPlane for Arc<Mutex<Memory>> {
    fn read(&mut self) -> Result<Held, Fault> {
        open(self).read()
    }

    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        open(self).attached()
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        open(self).change(change)
    }

    fn link(&mut self, change: &LinkChange) -> Result<Option<Attached>, Fault> {
        open(self).link(change)
    }

    fn interface_exists(&self, name: &str) -> bool {
        open(self).interface_exists(name)
    }

    fn listener_counter(&self, id: u32) -> Result<Counter, Fault> {
        open(self).listener_counter(id)
    }

    fn listener_refusals(&self, id: u32) -> Result<Refused, Fault> {
        open(self).listener_refusals(id)
    }

    fn backend_counter(&self, place: u32) -> Result<Counter, Fault> {
        open(self).backend_counter(place)
    }

    fn outcome_counter(&self, outcome: Outcome) -> Result<Counter, Fault> {
        open(self).outcome_counter(outcome)
    }

    fn now(&self) -> Moment {
        open(self).now()
    }

    fn pins(&mut self, table: Table, from: Option<u32>) -> Result<Batch<PinKey, Pin>, Fault> {
        open(self).pins(table, from)
    }

    fn remove_pins(&mut self, table: Table, keys: &[PinKey]) -> Result<(), Fault> {
        open(self).remove_pins(table, keys)
    }

    fn sessions(&mut self, from: Option<u32>) -> Result<Batch<SessionKey, Session>, Fault> {
        open(self).sessions(from)
    }

    fn remove_sessions(&mut self, keys: &[SessionKey]) -> Result<(), Fault> {
        open(self).remove_sessions(keys)
    }

    fn set_flows(&mut self, place: u32, flows: u32) {
        open(self).set_flows(place, flows);
    }

    fn set_listener_flows(&mut self, id: u32, flows: u64) {
        open(self).set_listener_flows(id, flows);
    }

    fn listener_flows(&self, id: u32) -> u64 {
        open(self).listener_flows(id)
    }

    fn pin_overflows(&self) -> Result<u64, Fault> {
        open(self).pin_overflows()
    }

    fn pins_are_crowded(&self) -> bool {
        open(self).pins_are_crowded()
    }

    fn mark_pins_crowded(&mut self, crowded: bool) {
        open(self).mark_pins_crowded(crowded);
    }

    fn remove_maps(&mut self) -> Result<(), Fault> {
        open(self).remove_maps()
    }
}

fn open(memory: &Arc<Mutex<Memory>>) -> MutexGuard<'_, Memory> {
    memory.lock().expect("no test panics while it looks into it")
}

/// Maps and links in memory, which check after each change what a packet could meet.
pub(crate) struct Memory {
    pub(crate) held: Held,
    /// Changes that were made.
    pub(crate) changes: Vec<Change>,
    pub(crate) links: Vec<LinkChange>,
    /// How many more changes succeed before one fails.
    pub(crate) changes_left: Option<usize>,
    /// Interfaces that refuse the program.
    pub(crate) refusing: BTreeSet<String>,
    /// Interfaces that the host has, with their indexes.
    pub(crate) interfaces: BTreeMap<String, u32>,
    pub(crate) pins_removed: bool,
    /// False where a test makes so much that looking at all of it after each change takes too long.
    pub(crate) checks: bool,
    pub(crate) now: Moment,
    /// By [`Table`].
    pub(crate) pins: [HashMap<PinKey, Pin>; 2],
    pub(crate) sessions: HashMap<SessionKey, Session>,
    pub(crate) flows: BTreeMap<u32, u32>,
    pub(crate) listener_flows: BTreeMap<u32, u64>,
    pub(crate) overflows: u64,
    /// What each listener refused.
    pub(crate) refused: Refused,
    /// By the listeners' ids.
    pub(crate) counters: HashMap<u32, Counter>,
    pub(crate) crowded: bool,
    /// Regions of allow-lists that packets may still read, and since when listeners have left them.
    pub(crate) left: Vec<(u32, u32, Moment)>,
    /// Words of allow-lists, by where they begin.
    pub(crate) allowed: BTreeMap<u32, Vec<u64>>,
}

/// A few elements at once, so that a sweep has many steps. Elements are in buckets, as in the kernel's maps, so that one that
/// is removed meanwhile hides no other.
fn batch<K: Copy + Eq + Hash, V: Copy>(map: &HashMap<K, V>, from: Option<u32>) -> Batch<K, V> {
    const BUCKETS: u32 = 4;
    let bucket = from.unwrap_or(0);
    let of = |key: &K| (BuildHasherDefault::<DefaultHasher>::default().hash_one(key) % u64::from(BUCKETS)) as u32;
    let found = map.iter().filter(|(key, _)| of(key) == bucket).map(|(key, value)| (*key, *value)).collect();
    (found, (bucket + 1 < BUCKETS).then_some(bucket + 1))
}

impl Memory {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            held: Held::empty(sizes),
            changes: Vec::new(),
            links: Vec::new(),
            changes_left: None,
            refusing: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            pins_removed: false,
            checks: true,
            now: Moment(1_000),
            pins: Default::default(),
            sessions: HashMap::new(),
            flows: BTreeMap::new(),
            listener_flows: BTreeMap::new(),
            overflows: 0,
            refused: Refused::default(),
            counters: HashMap::new(),
            crowded: false,
            left: Vec::new(),
            allowed: BTreeMap::new(),
        }
    }

    /// At every moment, a slot that a packet can reach names no backend, or one that has a place and can be reached; and so
    /// does a turn of a schedule.
    pub(crate) fn check(&self) {
        for (key, listener) in self.held.listeners.iter() {
            assert_ne!(listener.pool, 0, "{key:?} has no number");
            for index in 0..listener.slots_len {
                let slot = self.held.slot(listener.slots_base + index);
                self.check_backend(listener, slot.current(), &format!("{key:?}, slot {index}: {slot:?}"));
                if slot.is_moving() {
                    self.check_backend(listener, slot.previous(), &format!("{key:?}, slot {index}: {slot:?}"));
                }
            }
            for turn in 0..listener.schedule_len {
                let slot = self.held.slot(listener.schedule_base + turn);
                assert!(slot.is_steady() && slot != Slot::EMPTY, "{key:?}, turn {turn}: {slot:?}");
                self.check_backend(listener, slot.current(), &format!("{key:?}, turn {turn}: {slot:?}"));
            }
        }
        for (name, attached) in &self.held.attached {
            // The program goes by this without a look.
            let home = attached.station.and_then(|station| station.home);
            if let Some((home, segment)) = home.and_then(|home| Some((home, self.held.segments.get(&home)?))) {
                assert_eq!((segment.ifindex, segment.vlan), (attached.ifindex, 0), "{name} has its home at {home}");
            }
        }
        for pin in self.pins.iter().flatten() {
            let listener = self.held.listeners.values().find(|listener| listener.pool == pin.0.pool());
            if let Some(listener) = listener {
                let place = listener.backends_base + u32::from(pin.1.backend);
                assert!(self.held.owner(place).is_some(), "{pin:?} names the free place {place}");
            }
        }
    }

    fn check_backend(&self, listener: &Listener, backend: u16, what: &str) {
        if backend != NO_BACKEND {
            assert!(u32::from(backend) < listener.backends_len, "{what}");
            let place = listener.backends_base + u32::from(backend);
            assert!(self.held.owner(place).is_some(), "{what} names the free place {place}");
            assert!(self.held.backend(place).is_reachable(), "{what}: {place} is unreachable");
        }
    }
}

impl DataPlane for Memory {
    /// What is read back knows nothing of slots that no listener has, nor of when something was freed.
    fn read(&mut self) -> Result<Held, Fault> {
        let mut read = Held::empty(self.held.sizes);
        read.listeners = self.held.listeners.clone();
        read.vips = self.held.vips.clone();
        read.segments = self.held.segments.clone();
        read.egress = self.held.egress.clone();
        read.attached = self.attached()?;
        for index in 0..read.sizes.slots {
            read.set_slot(index, Slot(0xdead_beef));
        }
        for listener in self.held.listeners.values() {
            let table = listener.slots_base..listener.slots_base + listener.slots_len;
            let schedule = listener.schedule_base..listener.schedule_base + listener.schedule_len;
            for index in table.chain(schedule) {
                read.set_slot(index, self.held.slot(index));
            }
            read.saw_pool(listener.pool);
            if let Some(words) = self.allowed.get(&listener.allow_base) {
                read.saw_allowed(listener.allow_base, words);
            }
        }
        for place in 0..read.sizes.places {
            let owner = self.held.owner(place).unwrap_or(lb_common::backend::BackendOwner::FREE.address);
            let owner = lb_common::backend::BackendOwner { address: owner };
            read.set_place(place, owner, self.held.backend(place));
            read.set_weight(place, self.held.weight(place));
        }
        Ok(read)
    }

    /// As in the kernel, a link ends with its interface.
    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        let interfaces = &self.interfaces;
        self.held.attached.retain(|name, attached| interfaces.get(name) == Some(&attached.ifindex));
        Ok(self.held.attached.clone())
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        match &mut self.changes_left {
            Some(0) => {
                self.changes_left = None;
                return Err(Fault::unavailable("the map is full"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match change {
            Change::WriteSlots { base, moves } => {
                let mut seen = BTreeSet::new();
                assert!(moves.iter().all(|(index, _)| seen.insert(index) && base + index < self.held.sizes.slots));
            }
            Change::WriteAllowed { base, words } => {
                self.left.retain(|(_, _, since)| self.now.since(*since) <= Timing::GRACE);
                let end = base + words.len() as u32;
                let listeners = self.held.listeners.values().map(|listener| (listener.allow_base, listener.allow_len));
                for (other, len) in listeners.chain(self.left.iter().map(|(base, len, _)| (*base, *len))) {
                    assert!(len == 0 || other + len <= *base || end <= other, "{base} is read by packets");
                }
                assert!(end <= self.held.sizes.allowed);
                self.allowed.retain(|other, words| other + words.len() as u32 <= *base || end <= *other);
                self.allowed.insert(*base, words.clone());
            }
            Change::TakePlace { place, .. } | Change::CopyPlace { to: place, .. } => {
                assert_eq!(self.held.owner(*place), None, "place {place} is taken twice");
            }
            Change::PutListener { key, .. } | Change::RemoveListener { key } => {
                if let Some(before) = self.held.listeners.get(key).filter(|before| before.allow_len > 0) {
                    let after =
                        if let Change::PutListener { listener, .. } = change { listener.allow_base } else { u32::MAX };
                    if after != before.allow_base {
                        self.left.push((before.allow_base, before.allow_len, self.now));
                    }
                }
            }
            _ => {}
        }
        self.held.tell_time(self.now);
        self.held.change(change);
        self.changes.push(change.clone());
        if self.checks {
            self.check();
        }
        Ok(())
    }

    fn link(&mut self, change: &LinkChange) -> Result<Option<Attached>, Fault> {
        self.links.push(change.clone());
        match change {
            LinkChange::Attach { name, ifindex, station, mode } => {
                if self.refusing.contains(name) {
                    return Err(Fault::unavailable(format!("interface {name} has no XDP")));
                }
                let mode = if *mode == AttachMode::Generic { XdpMode::Generic } else { XdpMode::Native };
                let attached = Attached { ifindex: *ifindex, station: Some(*station), mode };
                assert_eq!(self.held.attached.insert(name.clone(), attached), None, "{name} is attached twice");
            }
            LinkChange::Renew { name, station } => {
                self.held.attached.get_mut(name).expect("it is attached").station = Some(*station);
            }
            LinkChange::Detach { name } => {
                self.held.attached.remove(name);
            }
        }
        let (LinkChange::Attach { name, .. } | LinkChange::Renew { name, .. } | LinkChange::Detach { name }) = change;
        Ok(self.held.attached.get(name).cloned())
    }

    fn interface_exists(&self, name: &str) -> bool {
        self.interfaces.contains_key(name)
    }

    fn listener_counter(&self, id: u32) -> Result<Counter, Fault> {
        Ok(self.counters.get(&id).copied().unwrap_or_default())
    }

    fn listener_refusals(&self, _: u32) -> Result<Refused, Fault> {
        Ok(self.refused)
    }

    fn backend_counter(&self, _: u32) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn outcome_counter(&self, _: Outcome) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn now(&self) -> Moment {
        self.now
    }

    fn pins(&mut self, table: Table, from: Option<u32>) -> Result<Batch<PinKey, Pin>, Fault> {
        Ok(batch(&self.pins[table as usize], from))
    }

    fn remove_pins(&mut self, table: Table, keys: &[PinKey]) -> Result<(), Fault> {
        self.pins[table as usize].retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn sessions(&mut self, from: Option<u32>) -> Result<Batch<SessionKey, Session>, Fault> {
        Ok(batch(&self.sessions, from))
    }

    fn remove_sessions(&mut self, keys: &[SessionKey]) -> Result<(), Fault> {
        self.sessions.retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn set_flows(&mut self, place: u32, flows: u32) {
        self.flows.insert(place, flows);
    }

    fn set_listener_flows(&mut self, id: u32, flows: u64) {
        self.listener_flows.insert(id, flows);
    }

    fn listener_flows(&self, id: u32) -> u64 {
        self.listener_flows.get(&id).copied().unwrap_or(0)
    }

    fn pin_overflows(&self) -> Result<u64, Fault> {
        Ok(self.overflows)
    }

    fn pins_are_crowded(&self) -> bool {
        self.crowded
    }

    fn mark_pins_crowded(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    fn remove_maps(&mut self) -> Result<(), Fault> {
        self.pins_removed = true;
        Ok(())
    }
}
