//! The maps: typed access, and how each change is made in them.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::xdp::DevMap;
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use bytemuck::Pod;
use lb_common::address::Address;
use lb_common::backend::{BackendOwner, Load, Segment};
use lb_common::limits::{MAX_ALLOW_WORDS, MAX_BACKENDS, MAX_LISTENERS, MAX_SEGMENTS, PIN_PLACES};
use lb_common::maps::{
    ALLOWED, BACKEND_OWNERS, COUNTERS, EGRESS, FORWARDING, LISTENER_FLOWS, LISTENER_REFUSALS, LOADS, PIN_OVERFLOWS,
    PINS_CROWDED, PINS_ESTABLISHED, PINS_MORE, PINS_YOUNG, SESSIONS, SLOTS,
};
use lb_common::outcome::Refused;
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{Slot, SlotLine};
use lb_common::table::{ListenerEntry, VipEntry};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};

use super::batch::{self, Batch};
use super::counters::CounterMap;
use super::fault::map_fault;
use super::forwarding::ForwardingMap;
use super::mmap::{Mapping, Word};
use super::object::possible_cpus;
use super::pins::PinTable;
use super::table::MatchTable;
use crate::model::Fault;
use crate::reconcile::{Change, Held, Sizes};

// aya wants types of its own trait, so the maps are opened by the words that the types of lb-common are made of.
type RefusedWords = [u64; 3];

// The words of a `Load`.
const FLOWS: usize = 0;
const WEIGHT: usize = 1;
const LOAD_WORDS: usize = 2;
/// In where a batch of established pins ended: it was one of [`PINS_MORE`]. The other numbers are of buckets, or of places.
const IN_MORE: u32 = 1 << 31;
/// The place before the first batch of [`PINS_MORE`].
const BEFORE_MORE: u32 = u32::MAX;

/// How many pins or sessions are looked at at once.
const BATCH: usize = 4_096;
/// How many places of pins are looked at at once. Most are free.
const PLACES: u32 = 16_384;

/// The maps of a data plane, open for reading and writing.
pub struct Maps {
    listeners: MatchTable<ListenerEntry>,
    vips: MatchTable<VipEntry>,
    forwarding: ForwardingMap,
    slots: Mapping<AtomicU32>,
    /// Four words an owner.
    owners: Mapping<AtomicU32>,
    /// Two words a place: flows and weight.
    loads: Mapping<AtomicU32>,
    pins_young: MapData,
    pins: PinTable,
    pins_more: MapData,
    sessions: MapData,
    pin_overflows: PerCpuArray<MapData, u64>,
    /// One word: 1 while the tables of pins are crowded.
    pins_crowded: Mapping<AtomicU64>,
    allowed: Mapping<AtomicU64>,
    listener_refusals: PerCpuArray<MapData, RefusedWords>,
    /// Flows by a listener's id.
    listener_flows: Mapping<AtomicU64>,
    egress: DevMap<MapData>,
    counters: CounterMap,
    /// How many values a per-CPU element has.
    cpus: usize,
}

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<Map, Fault> {
    ebpf.take_map(name).ok_or_else(|| Fault::internal(format!("the embedded object has no map {name}")))
}

pub(super) fn typed<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, Fault> {
    taken(ebpf, name)?.try_into().map_err(map_fault(name, "opened"))
}

fn mapping<W: Word>(ebpf: &mut Ebpf, name: &str, bytes: usize) -> Result<Mapping<W>, Fault> {
    Mapping::of_array(&taken(ebpf, name)?, name, 0, bytes)
}

/// The map of slots, whatever its size is.
pub(super) fn slots_of(map: &Map) -> Result<Mapping<AtomicU32>, Fault> {
    Mapping::whole_array(map, SLOTS, size_of::<SlotLine>())
}

/// A hash map that is read in batches.
fn hash(ebpf: &mut Ebpf, name: &str) -> Result<MapData, Fault> {
    match taken(ebpf, name)? {
        Map::HashMap(map) | Map::LruHashMap(map) => Ok(map),
        _ => Err(Fault::internal(format!("the map {name} of the embedded object is not a hash map"))),
    }
}

impl Maps {
    /// Takes the maps out of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Fault> {
        let forwarding = taken(ebpf, FORWARDING)?;
        Ok(Self {
            listeners: ForwardingMap::listeners(&forwarding)?,
            vips: ForwardingMap::vips(&forwarding)?,
            forwarding: ForwardingMap::open(&forwarding)?,
            slots: slots_of(&taken(ebpf, SLOTS)?)?,
            owners: mapping(ebpf, BACKEND_OWNERS, MAX_BACKENDS as usize * size_of::<BackendOwner>())?,
            loads: mapping(ebpf, LOADS, MAX_BACKENDS as usize * size_of::<Load>())?,
            pins_young: hash(ebpf, PINS_YOUNG)?,
            pins: PinTable::open(&taken(ebpf, PINS_ESTABLISHED)?)?,
            pins_more: hash(ebpf, PINS_MORE)?,
            sessions: hash(ebpf, SESSIONS)?,
            pin_overflows: typed(ebpf, PIN_OVERFLOWS)?,
            pins_crowded: mapping(ebpf, PINS_CROWDED, size_of::<u64>())?,
            allowed: mapping(ebpf, ALLOWED, MAX_ALLOW_WORDS as usize * size_of::<u64>())?,
            listener_refusals: typed(ebpf, LISTENER_REFUSALS)?,
            listener_flows: mapping(ebpf, LISTENER_FLOWS, MAX_LISTENERS as usize * size_of::<u64>())?,
            egress: typed(ebpf, EGRESS)?,
            counters: CounterMap::open(&taken(ebpf, COUNTERS)?)?,
            cpus: possible_cpus()?,
        })
    }

    /// Reads all maps but the counters.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn read(&self) -> Result<Held, Fault> {
        let slots = self.slots.words().len() as u32;
        let mut held = Held::empty(Sizes { slots, ..Sizes::FULL });
        for (key, listener) in self.listeners.iter() {
            // Only the tables that listeners have mean anything, and they are a small part of the map.
            let region = |base: u32, len: u32| base..base.saturating_add(len).min(slots);
            let table = region(listener.slots_base, listener.slots_len);
            for index in table.chain(region(listener.schedule_base, listener.schedule_len)) {
                let slot = self.slot(index);
                held.set_slot(index, slot);
                // An agent that was killed may have written the one and not the other.
                self.forwarding.set_glance(index, slot);
            }
            held.saw_pool(listener.pool);
            if listener.allow_len > 0 {
                held.saw_allowed(listener.allow_base, &self.allow_words(listener.allow_base, listener.allow_len));
            }
            held.listeners.insert(key, listener);
        }
        held.vips.extend(self.vips.iter());
        for place in 0..MAX_BACKENDS {
            held.set_place(place, self.owner(place), self.forwarding.backend(place));
            held.set_weight(place, self.load(place).weight);
        }
        for index in 0..MAX_SEGMENTS as u16 {
            let segment = self.forwarding.segment(index);
            if segment != Segment::default() {
                held.segments.insert(index, segment);
            }
            match self.egress.get(index.into(), 0) {
                Ok(device) if device.if_index != 0 => {
                    held.egress.insert(index, device.if_index);
                }
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_fault(EGRESS, "read")(error)),
            }
        }
        Ok(held)
    }

    /// Makes a change.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn change(&mut self, change: &Change) -> Result<(), Fault> {
        match change {
            Change::SetSegment { index, segment } => {
                self.forwarding.set_segment(*index, *segment);
                self.set_egress(*index, segment.ifindex)
            }
            Change::ClearSegment { index } => {
                self.set_egress(*index, 0)?;
                self.forwarding.set_segment(*index, Segment::default());
                Ok(())
            }
            Change::TakePlace { place, owner, backend } => {
                self.counters.clear_backend(*place);
                self.set_load(*place, Load::default());
                self.forwarding.set_backend(*place, *backend);
                self.set_owner(*place, BackendOwner { address: *owner });
                Ok(())
            }
            Change::CopyPlace { from, to } => {
                // What is counted between this and the listeners' going over to the copy is lost to the counter.
                self.counters.copy_backend(*from, *to);
                self.set_load(*to, self.load(*from));
                self.forwarding.set_backend(*to, self.forwarding.backend(*from));
                self.set_owner(*to, self.owner(*from));
                Ok(())
            }
            Change::SetPlace { place, backend } => {
                self.forwarding.set_backend(*place, *backend);
                Ok(())
            }
            Change::SetWeight { place, weight } => {
                self.set_load_word(*place, WEIGHT, *weight);
                Ok(())
            }
            Change::FreePlace { place } => {
                self.set_owner(*place, BackendOwner::FREE);
                Ok(())
            }
            Change::WriteSlots { base, moves } => {
                for (index, slot) in moves {
                    self.set_slot(base + index, *slot);
                }
                Ok(())
            }
            Change::WriteAllowed { base, words } => {
                for (index, value) in words.iter().enumerate() {
                    if let Some(word) = self.allowed.words().get(*base as usize + index) {
                        // Release is left to the listener's update, which is a system call: nobody reads them before.
                        word.store(*value, Ordering::Relaxed);
                    }
                }
                Ok(())
            }
            Change::PutListener { key, listener, new } => {
                if *new {
                    self.counters.clear_listener(listener.id);
                    self.clear_refusals(listener.id)?;
                    self.set_listener_flows(listener.id, 0);
                }
                self.listeners.put(*key, *listener)
            }
            Change::RemoveListener { key } => {
                self.listeners.remove(key);
                Ok(())
            }
            Change::PutVip { address, vip } => self.vips.put(*address, *vip),
            Change::RemoveVip { address } => {
                self.vips.remove(address);
                Ok(())
            }
        }
    }

    /// What the program has counted, but for refusals.
    #[must_use]
    pub const fn counters(&self) -> &CounterMap {
        &self.counters
    }

    /// What a listener refused, by its id.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn listener_refusals(&self, id: u32) -> Result<Refused, Fault> {
        let values = self.listener_refusals.get(&id, 0).map_err(map_fault(LISTENER_REFUSALS, "read"))?;
        Ok(values.iter().fold(Refused::default(), |sum, words| sum.plus(bytemuck::cast(*words))))
    }

    /// A batch of pins of a table, from where the one before ended.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn pins(&mut self, table: Table, from: Option<u32>, now: Moment) -> Result<Batch<PinKey, Pin>, Fault> {
        match (table, from) {
            (Table::Young, _) => look_up(self.pins_young.fd().as_fd(), PINS_YOUNG, from),
            (Table::Established, Some(at)) if at & IN_MORE != 0 => {
                let from = (at != BEFORE_MORE).then_some(at & !IN_MORE);
                let (pins, next) = look_up(self.pins_more.fd().as_fd(), PINS_MORE, from)?;
                // Packets follow the one that has a place.
                let (hidden, pins): (Vec<_>, Vec<_>) = pins.into_iter().partition(|(key, _)| self.pins.has(key));
                self.remove_more(&hidden.into_iter().map(|(key, _)| key).collect::<Vec<_>>())?;
                Ok((pins, next.map(|next| next | IN_MORE)))
            }
            (Table::Established, _) => {
                let from = from.unwrap_or(0);
                let to = from.saturating_add(PLACES).min(PIN_PLACES);
                let pins = self.pins.look_through(from..to, now);
                let more = self.pins.leads_to_more().then_some(BEFORE_MORE);
                Ok((pins, if to < PIN_PLACES { Some(to) } else { more }))
            }
        }
    }

    /// Removes pins from a table.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn remove_pins(&mut self, table: Table, keys: &[PinKey], now: Moment) -> Result<(), Fault> {
        match table {
            Table::Young => {
                batch::remove(self.pins_young.fd().as_fd(), keys).map_err(batch_fault(PINS_YOUNG, "written"))
            }
            Table::Established => {
                keys.iter().for_each(|key| self.pins.remove(key, now));
                if self.pins.leads_to_more() { self.remove_more(keys) } else { Ok(()) }
            }
        }
    }

    fn remove_more(&self, keys: &[PinKey]) -> Result<(), Fault> {
        batch::remove(self.pins_more.fd().as_fd(), keys).map_err(batch_fault(PINS_MORE, "written"))
    }

    /// A batch of sessions, from where the one before ended.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn sessions(&self, from: Option<u32>) -> Result<Batch<SessionKey, Session>, Fault> {
        look_up(self.sessions.fd().as_fd(), SESSIONS, from)
    }

    /// Removes sessions.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn remove_sessions(&mut self, keys: &[SessionKey]) -> Result<(), Fault> {
        batch::remove(self.sessions.fd().as_fd(), keys).map_err(batch_fault(SESSIONS, "written"))
    }

    /// Writes how many flows the backend of a place has.
    pub fn set_flows(&mut self, place: u32, flows: u32) {
        self.set_load_word(place, FLOWS, flows);
    }

    /// Writes how many flows a listener has, by its id.
    pub fn set_listener_flows(&mut self, id: u32, flows: u64) {
        if let Some(word) = self.listener_flows.words().get(id as usize) {
            word.store(flows, Ordering::Relaxed);
        }
    }

    /// How many flows a listener has, by its id: those that were written, and those that began since.
    #[must_use]
    pub fn listener_flows(&self, id: u32) -> u64 {
        self.listener_flows.words().get(id as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Pins that there was no room for, since the maps were made.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn pin_overflows(&self) -> Result<u64, Fault> {
        let values = self.pin_overflows.get(&0, 0).map_err(map_fault(PIN_OVERFLOWS, "read"))?;
        Ok(values.iter().copied().fold(0, u64::wrapping_add))
    }

    /// True while the tables of pins are marked as crowded.
    #[must_use]
    pub fn pins_are_crowded(&self) -> bool {
        self.pins_crowded.words().iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// Marks the tables of pins as crowded, or not.
    pub fn mark_pins_crowded(&mut self, crowded: bool) {
        for word in self.pins_crowded.words() {
            word.store(u64::from(crowded), Ordering::Release);
        }
    }

    fn clear_refusals(&mut self, id: u32) -> Result<(), Fault> {
        let zero = PerCpuValues::try_from(vec![[0; 3]; self.cpus])
            .map_err(|error| Fault::internal(format!("a counter cannot be cleared: {error}")))?;
        self.listener_refusals.set(id, zero, 0).map_err(map_fault(LISTENER_REFUSALS, "written"))
    }

    fn allow_words(&self, base: u32, len: u32) -> Vec<u64> {
        let words = self.allowed.words();
        let region = words.get(base as usize..(base as usize).saturating_add(len as usize)).unwrap_or(&[]);
        region.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Writes the interface of a segment; 0 for none.
    fn set_egress(&mut self, index: u16, ifindex: u32) -> Result<(), Fault> {
        self.egress.set(index.into(), ifindex, None, 0).map_err(|error| {
            let error = super::fault::chain(error);
            Fault::unavailable(format!("the BPF map {EGRESS} cannot be written: {error}"))
        })
    }

    fn slot(&self, index: u32) -> Slot {
        self.slots.words().get(index as usize).map_or(Slot::EMPTY, |word| Slot(word.load(Ordering::Acquire)))
    }

    fn set_slot(&self, index: u32, slot: Slot) {
        if let Some(word) = self.slots.words().get(index as usize) {
            word.store(slot.0, Ordering::Release);
        }
        self.forwarding.set_glance(index, slot);
    }

    fn load(&self, place: u32) -> Load {
        let word = |offset| {
            let word = self.loads.words().get(place as usize * LOAD_WORDS + offset);
            word.map_or(0, |word: &AtomicU32| word.load(Ordering::Relaxed))
        };
        Load { flows: word(FLOWS), weight: word(WEIGHT) }
    }

    fn set_load(&self, place: u32, load: Load) {
        self.set_load_word(place, FLOWS, load.flows);
        self.set_load_word(place, WEIGHT, load.weight);
    }

    fn set_load_word(&self, place: u32, offset: usize, value: u32) {
        if let Some(word) = self.loads.words().get(place as usize * LOAD_WORDS + offset) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn owner(&self, place: u32) -> BackendOwner {
        let start = place as usize * 4;
        let word =
            |offset| self.owners.words().get(start + offset).map_or(0, |word: &AtomicU32| word.load(Ordering::Acquire));
        BackendOwner { address: Address([word(0), word(1), word(2), word(3)]) }
    }

    /// Writes an owner, word by word: only agents read it, and one that is killed halfway leaves an address that no
    /// pool has, so that the next one frees the place.
    fn set_owner(&self, place: u32, owner: BackendOwner) {
        let start = place as usize * 4;
        for (offset, value) in owner.address.0.into_iter().enumerate() {
            if let Some(word) = self.owners.words().get(start + offset) {
                word.store(value, Ordering::Release);
            }
        }
    }
}

/// A batch of a size that keeps a sweep's step to about a millisecond; a larger one where a bucket is fuller than that.
fn look_up<K: Pod, V: Pod>(map: BorrowedFd<'_>, name: &str, from: Option<u32>) -> Result<Batch<K, V>, Fault> {
    let mut limit = BATCH;
    loop {
        match batch::look_up(map, from, limit) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && limit < BATCH << 8 => limit *= 4,
            done => return done.map_err(batch_fault(name, "read")),
        }
    }
}

fn batch_fault(name: &str, what: &str) -> impl FnOnce(io::Error) -> Fault {
    move |error| Fault::unavailable(format!("the BPF map {name} cannot be {what}: {error}"))
}
