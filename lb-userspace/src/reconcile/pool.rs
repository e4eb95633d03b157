//! What must change of one pool: its regions, its backends' places and its slots.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::address::Address;
use lb_common::backend::Backend;
use lb_common::limits;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::slot::Slot;

use super::change::Change;
use super::held::Held;
use super::regions::Regions;
use super::segments::SegmentsByInterface;
use super::standing::reach;
use crate::maglev;
use crate::model::{Fault, Pool, places_region, slots_region};
use crate::neighbour::NetworkView;

/// The parts of the maps that a pool has. All zero for a pool that never had a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Region {
    slots_base: u32,
    slots_len: u32,
    backends_base: u32,
    backends_len: u32,
}

impl Region {
    fn of(listener: &Listener) -> Self {
        let Listener { slots_base, slots_len, backends_base, backends_len, .. } = *listener;
        Self { slots_base, slots_len, backends_base, backends_len }
    }

    /// A listener of this pool.
    pub(super) fn listener(self, id: u32, hash: u32) -> Listener {
        let Self { slots_base, slots_len, backends_base, backends_len } = self;
        Listener { id, slots_base, slots_len, backends_base, backends_len, hash }
    }
}

/// What changes of a pool, by the stage of the plan.
#[derive(Default)]
pub(super) struct PoolPlan {
    /// Its region afterwards.
    pub(super) region: Region,
    /// True if its places move to another region.
    pub(super) moves: bool,
    /// If they do: copies into the new region, for the listeners to go over to.
    pub(super) copies: Vec<Change>,
    /// Places to take or to set.
    pub(super) places: Vec<Change>,
    /// Slots to write.
    pub(super) slots: Option<Change>,
    /// Places whose backend cannot be reached any more.
    pub(super) unreachable: Vec<Change>,
    /// Places to free.
    pub(super) free: Vec<Change>,
}

/// Plans one pool after the other, and hands out regions.
pub(super) struct PoolPlanner<'a> {
    view: &'a NetworkView,
    held: &'a Held,
    segments: &'a SegmentsByInterface,
    /// Regions that a pool of this plan keeps: no two may claim the same.
    kept: (Regions, Regions),
    /// Regions that are taken, before or by this plan; made when first needed.
    taken: Option<(Regions, Regions)>,
}

/// A pool's region and who has which place in it.
struct Places {
    region: Region,
    /// Places of backends that stay, by address, as indexes in the region.
    stay: BTreeMap<Address, u32>,
    /// Places of backends that go.
    go: Vec<u32>,
    /// True if the region is new to the pool, so that what its slots hold means nothing.
    fresh: bool,
    /// Where the places are now, if they move.
    moves_from: Option<u32>,
}

impl<'a> PoolPlanner<'a> {
    pub(super) fn new(view: &'a NetworkView, held: &'a Held, segments: &'a SegmentsByInterface) -> Self {
        let none = || Regions::new(held.sizes.slots);
        Self { view, held, segments, kept: (none(), Regions::new(held.sizes.places)), taken: None }
    }

    /// Plans a pool that the listeners with these keys share.
    pub(super) fn plan(&mut self, pool: &Pool, keys: &[ListenerKey]) -> Result<PoolPlan, Fault> {
        let mut plan = PoolPlan::default();
        let Some(places) = self.places(pool, keys, &mut plan)? else { return Ok(plan) };
        plan.region = places.region;
        let base = places.region.backends_base;
        let held_base = places.moves_from.unwrap_or(base);

        let owned: BTreeSet<u32> = places.stay.values().chain(&places.go).copied().collect();
        let free: Vec<u32> = (0..places.region.backends_len).filter(|index| !owned.contains(index)).collect();
        let mut free = self.held.longest_free_first(base, free).into_iter();

        // Each backend has a place, whether it takes traffic or not: its counters live there.
        let mut serving: Vec<(Address, u16)> = Vec::new();
        let mut indexes: Vec<u16> = Vec::new();
        for backend in pool.backends.values() {
            let address = backend.address.address();
            let stays = places.stay.get(&address).copied();
            let now = stays.map_or(Backend::UNREACHABLE, |index| self.held.backend(held_base + index));
            let reached = reach(backend.address, self.view, self.segments, now);
            let after = *reached.as_ref().unwrap_or(&Backend::UNREACHABLE);
            let index = match stays {
                Some(index) => index,
                None => free.next().ok_or_else(|| no_room(pool, "places for backends"))?,
            };
            let place = base + index;
            match (stays, after) {
                (None, _) => plan.places.push(Change::TakePlace { place, owner: address, backend: after }),
                (Some(_), after) if after == now => {}
                (Some(_), Backend::UNREACHABLE) => plan.unreachable.push(Change::SetPlace { place, backend: after }),
                (Some(_), after) => plan.places.push(Change::SetPlace { place, backend: after }),
            }
            if reached.is_ok() && backend.admin_up && backend.weight > 0 {
                serving.push((address, backend.weight));
                indexes.push(index as u16);
            }
        }
        plan.free.extend(places.go.iter().map(|index| Change::FreePlace { place: base + index }));
        plan.slots = self.slots(&places, &serving, &indexes);
        Ok(plan)
    }

    /// The slots that move; all of them in a fresh region.
    fn slots(&self, places: &Places, serving: &[(Address, u16)], indexes: &[u16]) -> Option<Change> {
        let Region { slots_base: base, slots_len, .. } = places.region;
        let table = maglev::table(serving, slots_len);
        let slots = table.iter().map(|&slot| indexes.get(usize::from(slot)).map_or(Slot::EMPTY, |&i| Slot::steady(i)));
        let moves: Vec<_> = (0..slots_len)
            .zip(slots)
            .filter(|(index, slot)| places.fresh || self.held.slot(base + index) != *slot)
            .collect();
        (!moves.is_empty()).then_some(Change::WriteSlots { base, moves })
    }

    /// The pool's region, kept, grown or new; `None` for a pool that needs none yet.
    fn places(&mut self, pool: &Pool, keys: &[ListenerKey], plan: &mut PoolPlan) -> Result<Option<Places>, Fault> {
        let wanted: BTreeSet<Address> = pool.backends.keys().map(|address| address.address()).collect();
        let Some(region) = self.keep(pool, keys) else {
            if wanted.is_empty() {
                return Ok(None);
            }
            let slots_base = self.allocate_slots(pool)?;
            let (backends_base, backends_len) = self.allocate_places(pool, wanted.len() as u32)?;
            plan.places = self.freed(backends_base, backends_len);
            let region = Region { slots_base, slots_len: pool.slots, backends_base, backends_len };
            let places = Places { region, stay: BTreeMap::new(), go: Vec::new(), fresh: true, moves_from: None };
            return Ok(Some(places));
        };
        let base = region.backends_base;
        let mut places = Places { region, stay: BTreeMap::new(), go: Vec::new(), fresh: false, moves_from: None };
        for (place, owner) in self.held.owners_in(base..base + region.backends_len) {
            let index = place - base;
            if wanted.contains(&owner) && !places.stay.contains_key(&owner) {
                places.stay.insert(owner, index);
            } else {
                places.go.push(index);
            }
        }
        let needed = (wanted.len() + places.go.len()) as u32;
        if needed > region.backends_len {
            let (new_base, new_len) = self.allocate_places(pool, needed)?;
            plan.moves = true;
            plan.copies = self.freed(new_base, new_len);
            (places.region.backends_base, places.region.backends_len) = (new_base, new_len);
            places.moves_from = Some(base);
            // Places that go are copied too: slots name them until they are written.
            let owned = places.stay.values().chain(&places.go);
            plan.copies.extend(owned.map(|index| Change::CopyPlace { from: base + index, to: new_base + index }));
        }
        Ok(Some(places))
    }

    /// The region that the pool's listeners have in the maps, if it fits the pool and no other pool has it. The largest
    /// one, if they differ because an agent was killed while it moved the pool.
    fn keep(&mut self, pool: &Pool, keys: &[ListenerKey]) -> Option<Region> {
        let held = keys.iter().filter_map(|key| self.held.listeners.get(key)).map(Region::of);
        let fits = |region: &Region| {
            region.slots_len == pool.slots
                && region.slots_base.is_multiple_of(limits::SLOTS_PER_LINE as u32)
                && region.backends_len == places_region(region.backends_len)
        };
        let region = held.filter(fits).max_by_key(|region| (region.backends_len, region.backends_base))?;
        let (slots, places) = &mut self.kept;
        let kept = slots.claim(region.slots_base, slots_region(region.slots_len))
            && places.claim(region.backends_base, region.backends_len);
        kept.then_some(region)
    }

    fn allocate_slots(&mut self, pool: &Pool) -> Result<u32, Fault> {
        let (slots, _) = self.taken();
        let base = slots.allocate(slots_region(pool.slots), limits::SLOTS_PER_LINE as u32);
        base.ok_or_else(|| no_room(pool, "slots"))
    }

    fn allocate_places(&mut self, pool: &Pool, needed: u32) -> Result<(u32, u32), Fault> {
        let len = places_region(needed);
        let (_, places) = self.taken();
        let base = places.allocate(len, len).ok_or_else(|| no_room(pool, "places for backends"))?;
        Ok((base, len))
    }

    /// Frees what a killed agent may have left in a region that is free.
    fn freed(&self, base: u32, len: u32) -> Vec<Change> {
        self.held.owners_in(base..base + len).map(|(place, _)| Change::FreePlace { place }).collect()
    }

    fn taken(&mut self) -> &mut (Regions, Regions) {
        let held = self.held;
        self.taken.get_or_insert_with(|| {
            let (mut slots, mut places) = (Regions::new(held.sizes.slots), Regions::new(held.sizes.places));
            for listener in held.listeners.values() {
                slots.cover(listener.slots_base, listener.slots_len);
                places.cover(listener.backends_base, listener.backends_len);
            }
            (slots, places)
        })
    }
}

fn no_room(pool: &Pool, what: &str) -> Fault {
    Fault::unavailable(format!(
        "there is no room of one piece for the {what} of pool `{}`; remove listeners that are not needed",
        pool.name
    ))
}
