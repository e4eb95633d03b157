//! The listeners that the maps hold, and what they take: regions, ids and numbers of pools. Kept with each change, so that no
//! plan has to go through all listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Deref};

use lb_common::limits::SLOTS_PER_LINE;
use lb_common::listener::{Listener, ListenerKey};

use super::held::{Freed, Sizes};
use super::regions::{Overlay, Regions};

/// Listeners by what they listen on. They are read like a map.
#[derive(Clone, Debug)]
pub struct Listeners {
    by_key: BTreeMap<ListenerKey, Listener>,
    slots: Counted,
    places: Counted,
    allowed: Counted,
    /// How many listeners have an id. One has it alone, unless the maps are damaged.
    ids: BTreeMap<u32, u32>,
    /// Ids that no listener has, by when they were freed.
    free_ids: BTreeSet<(u64, u32)>,
    freed: Freed,
    /// How many ids there are.
    size: u32,
    /// How many listeners a pool has, by its number.
    pools: BTreeMap<u32, u32>,
}

impl Deref for Listeners {
    type Target = BTreeMap<ListenerKey, Listener>;

    fn deref(&self) -> &Self::Target {
        &self.by_key
    }
}

impl Listeners {
    pub(super) fn none(sizes: Sizes) -> Self {
        Self {
            by_key: BTreeMap::new(),
            slots: Counted::new(sizes.slots),
            places: Counted::new(sizes.places),
            allowed: Counted::new(sizes.allowed),
            ids: BTreeMap::new(),
            free_ids: (0..sizes.listeners).map(|id| (0, id)).collect(),
            freed: Freed::default(),
            size: sizes.listeners,
            pools: BTreeMap::new(),
        }
    }

    /// Adds or replaces a listener; returns the one that was there.
    pub fn insert(&mut self, key: ListenerKey, listener: Listener) -> Option<Listener> {
        self.count(&listener);
        let before = self.by_key.insert(key, listener);
        if let Some(before) = &before {
            self.discount(before);
        }
        before
    }

    /// Removes a listener.
    pub(super) fn remove(&mut self, key: &ListenerKey) -> Option<Listener> {
        let before = self.by_key.remove(key)?;
        self.discount(&before);
        // Its counters are read for a while longer, so that ids are taken in turn.
        let id = before.id;
        if self.free_ids.remove(&(self.freed.age(id), id)) {
            self.freed.add(id);
            self.free_ids.insert((self.freed.age(id), id));
        }
        Some(before)
    }

    fn count(&mut self, listener: &Listener) {
        for (base, len) in tables_of(listener) {
            self.slots.add(base, len);
        }
        self.places.add(listener.backends_base, listener.backends_len);
        self.allowed.add(listener.allow_base, allowed_region(listener.allow_len));
        let listeners = self.ids.entry(listener.id).or_default();
        *listeners += 1;
        if *listeners == 1 {
            self.free_ids.remove(&(self.freed.age(listener.id), listener.id));
        }
        *self.pools.entry(listener.pool).or_default() += 1;
    }

    fn discount(&mut self, listener: &Listener) {
        for (base, len) in tables_of(listener) {
            self.slots.remove(base, len);
        }
        self.places.remove(listener.backends_base, listener.backends_len);
        self.allowed.remove(listener.allow_base, allowed_region(listener.allow_len));
        if one_less(&mut self.ids, listener.id) && listener.id < self.size {
            self.free_ids.insert((self.freed.age(listener.id), listener.id));
        }
        one_less(&mut self.pools, listener.pool);
    }

    /// Takes over from an older image when ids were freed.
    pub(super) fn remember(&mut self, older: &Self) {
        self.freed.clone_from(&older.freed);
        let free = (0..self.size).filter(|id| !self.ids.contains_key(id));
        self.free_ids = free.map(|id| (self.freed.age(id), id)).collect();
    }

    /// The id that is free for longest after another one in that order, of which the first is free for longest of all.
    pub(super) fn free_id(&self, after: Option<FreeId>) -> Option<FreeId> {
        let after = after.map_or(Bound::Unbounded, |FreeId(age, id)| Bound::Excluded((age, id)));
        self.free_ids.range((after, Bound::Unbounded)).next().map(|(age, id)| FreeId(*age, *id))
    }

    /// True if a listener is of the pool with this number.
    #[must_use]
    pub fn has_pool(&self, number: u32) -> bool {
        self.pools.contains_key(&number)
    }

    /// How many listeners have this region of places.
    pub(super) fn with_places(&self, region: (u32, u32)) -> u32 {
        self.places.counts.get(&region).copied().unwrap_or(0)
    }

    /// True if regions of places overlap, as they never should.
    pub(super) fn are_places_tangled(&self) -> bool {
        !self.places.tangled.is_empty()
    }

    /// What is taken of the slots, for a plan to take more.
    pub(super) fn slots(&self) -> Overlay<'_> {
        self.slots.overlay()
    }

    /// What is taken of the places.
    pub(super) fn places(&self) -> Overlay<'_> {
        self.places.overlay()
    }

    /// What is taken of the words of allow-lists.
    pub(super) fn allowed(&self) -> Overlay<'_> {
        self.allowed.overlay()
    }
}

/// An id that no listener has, and when it was freed.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreeId(u64, u32);

impl FreeId {
    pub(super) const fn id(self) -> u32 {
        self.1
    }
}

/// The lookup table and the schedule.
fn tables_of(listener: &Listener) -> [(u32, u32); 2] {
    let Listener { slots_base, slots_len, schedule_base, schedule_len, .. } = *listener;
    let region = |len| whole(len, SLOTS_PER_LINE as u32);
    [(slots_base, region(slots_len)), (schedule_base, region(schedule_len))]
}

/// Regions of allow-lists begin at a multiple of this many words: a cache line.
pub(super) const ALLOWED_ALIGN: u32 = 8;

/// The words that a list of so many words has to itself.
pub(super) fn allowed_region(len: u32) -> u32 {
    whole(len, ALLOWED_ALIGN)
}

/// A length in whole pieces. What damaged maps hold may have no such length.
fn whole(len: u32, piece: u32) -> u32 {
    len.checked_next_multiple_of(piece).unwrap_or(len)
}

/// True if that was the last one.
fn one_less(counts: &mut BTreeMap<u32, u32>, number: u32) -> bool {
    let Some(count) = counts.get_mut(&number) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(&number);
    }
    last
}

/// Regions, and how many listeners have each.
#[derive(Clone, Debug)]
struct Counted {
    regions: Regions,
    counts: BTreeMap<(u32, u32), u32>,
    /// Those that meet others or the map's end, in damaged maps.
    tangled: BTreeSet<(u32, u32)>,
}

impl Counted {
    fn new(size: u32) -> Self {
        Self { regions: Regions::new(size), counts: BTreeMap::new(), tangled: BTreeSet::new() }
    }

    fn add(&mut self, base: u32, len: u32) {
        if len == 0 {
            return;
        }
        let count = self.counts.entry((base, len)).or_default();
        *count += 1;
        if *count == 1 && !self.regions.claim(base, len) {
            self.tangled.insert((base, len));
        }
    }

    fn remove(&mut self, base: u32, len: u32) {
        let Some(count) = self.counts.get_mut(&(base, len)) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&(base, len));
            if !self.tangled.remove(&(base, len)) {
                self.regions.release(base);
            }
        }
    }

    fn overlay(&self) -> Overlay<'_> {
        let mut overlay = Overlay::over(&self.regions);
        for (base, len) in &self.tangled {
            overlay.cover(*base, *len);
        }
        overlay
    }
}
