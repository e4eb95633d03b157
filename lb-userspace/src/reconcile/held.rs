//! What the maps hold, as an image in memory.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::address::{Address, MacAddr};
use lb_common::backend::{Backend, BackendOwner, Segment};
use lb_common::limits;
use lb_common::listener::Vip;
use lb_common::slot::Slot;
use lb_common::track::pin::Moment;

use super::allowed::AllowLists;
use super::change::Change;
use super::listeners::Listeners;
use super::pages::Pages;
use crate::model::XdpMode;

/// How many elements the maps have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Slots of all pools.
    pub slots: u32,
    /// Backend places of all pools.
    pub places: u32,
    /// Listeners, and listeners' counters.
    pub listeners: u32,
    /// Segments.
    pub segments: u16,
    /// Words of all allow-lists.
    pub allowed: u32,
}

impl Sizes {
    /// The sizes of the real maps unless set, see [`limits`].
    pub const FULL: Self = Self {
        slots: limits::MAX_SLOTS,
        places: limits::MAX_BACKENDS,
        listeners: limits::MAX_LISTENERS,
        segments: limits::MAX_SEGMENTS as u16,
        allowed: limits::MAX_ALLOW_WORDS,
    };
}

/// The highest number of a pool: 24 bits. 0 is no pool's.
const POOL_NUMBERS: u32 = (1 << 24) - 1;

/// What the program is told of the interface that it runs on, when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Our MAC there.
    pub mac: MacAddr,
    /// The index that the interface's untagged segment has, or will have: what goes to a backend there need not look at it. `None` if
    /// there is no index left.
    pub home: Option<u16>,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The interface's index when it was attached.
    pub ifindex: u32,
    /// What the program was loaded for; `None` for a program that an earlier agent loaded.
    pub station: Option<Station>,
    /// Where the program runs.
    pub mode: XdpMode,
}

/// What the maps hold.
///
/// The engine reads it from the maps at start and once in a while, and otherwise follows its own changes, so that a
/// plan costs no system calls.
#[derive(Clone, Debug)]
pub struct Held {
    /// Size of the maps.
    pub sizes: Sizes,
    /// All listeners.
    pub listeners: Listeners,
    /// All VIPs.
    pub vips: BTreeMap<Address, Vip>,
    /// All segments that have an interface.
    pub segments: BTreeMap<u16, Segment>,
    /// The interfaces that frames go out by, by segment.
    pub egress: BTreeMap<u16, u32>,
    /// The interfaces that the program is attached to, by name.
    pub attached: BTreeMap<String, Attached>,
    /// The allow-lists.
    pub allowed: AllowLists,
    /// All slots, as words. Only those of listeners' tables are meaningful.
    slots: Pages<u32>,
    /// All places.
    backends: Pages<u64>,
    /// Weights of all places.
    weights: Pages<u32>,
    /// Owners of the places.
    owners: BTreeMap<u32, Address>,
    /// When places were freed, so that the one that is free for longest is taken again first.
    freed_places: Freed,
    /// The pools' number that was given last.
    last_pool: u32,
}

/// Numbers in the order in which they were freed.
#[derive(Clone, Debug, Default)]
pub(super) struct Freed {
    count: u64,
    when: BTreeMap<u32, u64>,
}

impl Freed {
    pub(super) fn add(&mut self, number: u32) {
        self.count += 1;
        self.when.insert(number, self.count);
    }

    pub(super) fn age(&self, number: u32) -> u64 {
        self.when.get(&number).copied().unwrap_or(0)
    }
}

impl Held {
    /// Empty maps.
    #[must_use]
    pub fn empty(sizes: Sizes) -> Self {
        Self {
            sizes,
            listeners: Listeners::none(sizes),
            vips: BTreeMap::new(),
            segments: BTreeMap::new(),
            egress: BTreeMap::new(),
            attached: BTreeMap::new(),
            allowed: AllowLists::default(),
            slots: Pages::zero(sizes.slots),
            backends: Pages::zero(sizes.places),
            weights: Pages::zero(sizes.places),
            owners: BTreeMap::new(),
            freed_places: Freed::default(),
            last_pool: 0,
        }
    }

    /// Takes over what does not stand in the maps from an older image of them: what was freed when, and which number a
    /// pool got last.
    #[must_use]
    pub fn remembering(mut self, older: &Self) -> Self {
        self.freed_places = older.freed_places.clone();
        self.listeners.remember(&older.listeners);
        self.last_pool = older.last_pool;
        self.allowed.remember(&older.allowed);
        self
    }

    /// Hears what time it is: regions that packets may still read are not given away.
    pub fn tell_time(&mut self, now: Moment) {
        self.allowed.tell_time(now);
    }

    /// Reads the allow-list that a listener has in the maps, of which these are the words.
    pub fn saw_allowed(&mut self, base: u32, words: &[u64]) {
        self.allowed.saw(base, words);
    }

    /// Hears of a pool's number that is or was in use: it is not given again.
    pub fn saw_pool(&mut self, number: u32) {
        self.last_pool = self.last_pool.max(number & POOL_NUMBERS);
    }

    /// A pool's number that is not in use, nor among those in `taken`: the one after the last, which is the one that was given
    /// last unless a plan has given others. They begin anew after sixteen million pools, of which the first are long forgotten.
    pub(super) fn free_pool(&self, last: Option<u32>, taken: &BTreeSet<u32>) -> u32 {
        let mut number = last.unwrap_or(self.last_pool);
        loop {
            number = number % POOL_NUMBERS + 1;
            if !self.listeners.has_pool(number) && !taken.contains(&number) {
                return number;
            }
        }
    }

    /// The weight of the backend of a place.
    #[must_use]
    pub fn weight(&self, place: u32) -> u32 {
        self.weights.get(place).unwrap_or(0)
    }

    /// Writes the weight of the backend of a place.
    pub fn set_weight(&mut self, place: u32, weight: u32) {
        self.weights.set(place, weight);
    }

    /// A slot, by its index in the slots' map; empty beyond the end.
    #[must_use]
    pub fn slot(&self, index: u32) -> Slot {
        self.slots.get(index).map_or(Slot::EMPTY, Slot)
    }

    /// Writes a slot.
    pub fn set_slot(&mut self, index: u32, slot: Slot) {
        self.slots.set(index, slot.0);
    }

    /// Where the backend of a place is.
    #[must_use]
    pub fn backend(&self, place: u32) -> Backend {
        self.backends.get(place).map_or(Backend::UNREACHABLE, Backend)
    }

    /// Who has a place; `None` if it is free.
    #[must_use]
    pub fn owner(&self, place: u32) -> Option<Address> {
        self.owners.get(&place).copied()
    }

    /// The places that are taken, and by whom, in a range of places.
    pub fn owners_in(&self, places: std::ops::Range<u32>) -> impl Iterator<Item = (u32, Address)> {
        self.owners.range(places).map(|(place, owner)| (*place, *owner))
    }

    /// Writes a place and its owner, as read from the maps.
    pub fn set_place(&mut self, place: u32, owner: BackendOwner, backend: Backend) {
        self.backends.set(place, backend.0);
        if owner == BackendOwner::FREE {
            self.owners.remove(&place);
        } else {
            self.owners.insert(place, owner.address);
        }
    }

    /// Indexes of free places above `base`, those that are free for longest first.
    pub(super) fn longest_free_first(&self, base: u32, mut indexes: Vec<u32>) -> Vec<u32> {
        indexes.sort_by_cached_key(|index| (self.freed_places.age(base + index), *index));
        indexes
    }

    /// Makes a change, as the data plane makes it in the maps.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::SetSegment { index, segment } => {
                self.segments.insert(*index, *segment);
                self.egress.insert(*index, segment.ifindex);
            }
            Change::ClearSegment { index } => {
                self.segments.remove(index);
                self.egress.remove(index);
            }
            Change::TakePlace { place, owner, backend } => {
                self.set_place(*place, BackendOwner { address: *owner }, *backend);
                self.set_weight(*place, 0);
            }
            Change::CopyPlace { from, to } => {
                let owner = self.owner(*from).map_or(BackendOwner::FREE, |address| BackendOwner { address });
                self.set_place(*to, owner, self.backend(*from));
                self.set_weight(*to, self.weight(*from));
            }
            Change::SetPlace { place, backend } => {
                self.backends.set(*place, backend.0);
            }
            Change::SetWeight { place, weight } => self.set_weight(*place, *weight),
            Change::FreePlace { place } => {
                if self.owners.remove(place).is_some() {
                    self.freed_places.add(*place);
                }
            }
            Change::WriteSlots { base, moves } => {
                for (index, slot) in moves {
                    self.set_slot(base + index, *slot);
                }
            }
            Change::WriteAllowed { base, words } => self.allowed.saw(*base, words),
            Change::PutListener { key, listener, .. } => {
                self.saw_pool(listener.pool);
                let before = self.listeners.insert(*key, *listener);
                self.allowed.listener_changed(before.as_ref(), Some(listener));
            }
            Change::RemoveListener { key } => {
                if let Some(listener) = self.listeners.remove(key) {
                    self.allowed.listener_changed(Some(&listener), None);
                }
            }
            Change::PutVip { address, vip } => {
                self.vips.insert(*address, *vip);
            }
            Change::RemoveVip { address } => {
                self.vips.remove(address);
            }
        }
    }
}
