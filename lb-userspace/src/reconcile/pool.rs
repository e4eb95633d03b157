//! What must change of one pool: its regions, its backends' places and its slots.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::address::Address;
use lb_common::backend::Backend;
use lb_common::limits;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::change::retarget;

use super::change::Change;
use super::held::Held;
use super::regions::{Overlay, Regions};
use super::schedule::schedule;
use super::segments::SegmentsByInterface;
use super::standing::{reach, word_of};
use super::transition::{Mode, persistence_of};
use crate::health::Unhealthy;
use crate::maglev;
use crate::model::{Backend as Wanted, Fault, Pool, Vip, places_region, slots_region};
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

    /// A listener as it is, over to this region.
    pub(super) fn moved(self, listener: &Listener) -> Listener {
        let Self { slots_base, slots_len, backends_base, backends_len } = self;
        Listener { slots_base, slots_len, backends_base, backends_len, ..*listener }
    }
}

/// What changes of a pool, by the stage of the plan.
pub(super) struct PoolPlan {
    /// Its region afterwards.
    pub(super) region: Region,
    /// Its number.
    number: u32,
    /// How its flows get their backends afterwards.
    mode: Mode,
    /// First slot and length of its schedule.
    schedule: (u32, u32),
    /// True if its places move to another region.
    pub(super) moves: bool,
    /// If they do: copies into the new region, for the listeners to go over to.
    pub(super) copies: Vec<Change>,
    /// Places to take or to set.
    pub(super) places: Vec<Change>,
    /// Slots to write, of the table and of the schedule.
    pub(super) slots: Vec<Change>,
    /// Places whose backend takes nothing any more. They stay taken while a pin or a session may name them.
    pub(super) unreachable: Vec<Change>,
}

impl PoolPlan {
    /// A listener of this pool, with that id, that takes all packets.
    pub(super) fn listener(&self, id: u32, pool: &Pool, vip: Vip) -> Listener {
        let Region { slots_base, slots_len, backends_base, backends_len } = self.region;
        Listener {
            id,
            pool: self.number,
            slots_base,
            slots_len,
            backends_base,
            backends_len,
            schedule_base: self.schedule.0,
            schedule_len: self.schedule.1,
            algorithm: self.mode.algorithm,
            before: self.mode.before,
            persistence: persistence_of(pool, vip),
            guards: if self.mode.limited { Listener::GUARD_PINS } else { 0 },
            ..Listener::NONE
        }
    }
}

/// Plans one pool after the other, and hands out regions.
pub(super) struct PoolPlanner<'a> {
    view: &'a NetworkView,
    unhealthy: &'a Unhealthy,
    held: &'a Held,
    segments: &'a SegmentsByInterface,
    /// Regions that a pool of this plan keeps: no two may claim the same.
    kept: (Regions, Regions),
    /// Numbers of the pools of this plan.
    numbers: BTreeSet<u32>,
    /// The number that this plan gave last.
    last_number: Option<u32>,
    /// Slots that are taken, before or by this plan.
    slots: Overlay<'a>,
    /// Likewise the places.
    places: Overlay<'a>,
}

/// The most places of a pool, those of backends among them that are gone and that pins still name.
const MAX_PLACES: u32 = 1 << 15;

/// Who takes packets.
#[derive(Default)]
struct Serving {
    /// Those that take new flows, with their weights.
    weights: Vec<(Address, u16)>,
    /// Their indexes in the pool.
    indexes: Vec<u16>,
    /// Indexes of all that packets may be sent to.
    reachable: BTreeSet<u16>,
}

/// The weight by which a backend takes new flows, given its word; 0 if it takes none.
const fn weight_of(backend: &Wanted, word: Backend) -> u16 {
    if word.is_reachable() && !word.is_draining() { backend.weight } else { 0 }
}

/// A pool's region and who has which place in it.
struct Places {
    region: Region,
    /// Places of backends that stay, by address, as indexes in the region.
    stay: BTreeMap<Address, u32>,
    /// Places of backends that are gone.
    gone: Vec<u32>,
    /// True if the region is new to the pool, so that what its slots hold means nothing.
    fresh: bool,
    /// Where the places are now, if they move.
    moves_from: Option<u32>,
}

impl<'a> PoolPlanner<'a> {
    pub(super) fn new(
        view: &'a NetworkView,
        unhealthy: &'a Unhealthy,
        held: &'a Held,
        segments: &'a SegmentsByInterface,
    ) -> Self {
        let kept = (Regions::new(held.sizes.slots), Regions::new(held.sizes.places));
        Self {
            view,
            unhealthy,
            held,
            segments,
            kept,
            numbers: BTreeSet::new(),
            last_number: None,
            slots: held.listeners.slots(),
            places: held.listeners.places(),
        }
    }

    /// Plans a pool that the listeners with these keys share. `limited`: one of them limits its flows.
    pub(super) fn plan(&mut self, pool: &Pool, keys: &[ListenerKey], limited: bool) -> Result<PoolPlan, Fault> {
        #[cfg(test)]
        super::work::plans_a_pool();
        let held = self.held;
        let listeners: Vec<&Listener> = keys.iter().filter_map(|key| held.listeners.get(key)).collect();
        let mut plan = PoolPlan {
            region: Region::default(),
            number: 0,
            mode: Mode::after(pool, limited, listeners.iter().copied()),
            schedule: (0, 0),
            moves: false,
            copies: Vec::new(),
            places: Vec::new(),
            slots: Vec::new(),
            unreachable: Vec::new(),
        };
        let places = self.places(pool, &listeners, &mut plan)?;
        let fresh = places.as_ref().is_none_or(|places| places.fresh);
        plan.number = self.number(&listeners, fresh);
        let Some(places) = places else { return Ok(plan) };
        plan.region = places.region;
        let serving = self.backends(pool, &places, &mut plan)?;
        let leaves = !plan.mode.pins && listeners.iter().any(|listener| listener.pins_every_flow());
        let slots = self.slots(&places, &serving, plan.mode, leaves);
        plan.slots.extend(slots);
        self.schedule(pool, &listeners, &serving, &mut plan)?;
        Ok(plan)
    }

    /// The pool's number: the one that it has, unless what is remembered under that means another region.
    fn number(&mut self, listeners: &[&Listener], fresh: bool) -> u32 {
        let held = listeners.iter().find(|listener| listener.pool != 0 && !(fresh && listener.backends_len != 0));
        let kept = held.map(|listener| listener.pool).filter(|number| !self.numbers.contains(number));
        let number = kept.unwrap_or_else(|| {
            let free = self.held.free_pool(self.last_number, &self.numbers);
            self.last_number = Some(free);
            free
        });
        self.numbers.insert(number);
        number
    }

    /// Plans the places: each backend has one, whether it takes traffic or not, as its counters live there. Returns who
    /// takes new flows.
    fn backends(&self, pool: &Pool, places: &Places, plan: &mut PoolPlan) -> Result<Serving, Fault> {
        let base = places.region.backends_base;
        let held_base = places.moves_from.unwrap_or(base);
        let owned: BTreeSet<u32> = places.stay.values().chain(&places.gone).copied().collect();
        let free: Vec<u32> = (0..places.region.backends_len).filter(|index| !owned.contains(index)).collect();
        let mut free = self.held.longest_free_first(base, free).into_iter();
        let mut serving = Serving::default();
        let stays_at = |backend: &Wanted| places.stay.get(&backend.address.address()).copied();
        let now_at =
            |index: Option<u32>| index.map_or(Backend::UNREACHABLE, |index| self.held.backend(held_base + index));
        let word = |backend: &Wanted, stands_by: bool| {
            let reached = reach(backend.address, self.view, self.segments, now_at(stays_at(backend)));
            let is_up = self.unhealthy.is_empty() || !self.unhealthy.contains(&(pool.name.clone(), backend.address));
            word_of(backend, &reached, is_up, stands_by)
        };
        // Backups take new flows while nobody else does.
        let others_serve = pool.backends.values().any(|backend| backend.backup)
            && pool.backends.values().any(|backend| !backend.backup && weight_of(backend, word(backend, false)) > 0);
        for backend in pool.backends.values() {
            let address = backend.address.address();
            let stays = stays_at(backend);
            let now = now_at(stays);
            let after = word(backend, backend.backup && others_serve);
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
            let weight = weight_of(backend, after);
            let held_weight = stays.map_or(0, |index| self.held.weight(held_base + index));
            if held_weight != u32::from(weight) {
                plan.places.push(Change::SetWeight { place, weight: weight.into() });
            }
            if after.is_reachable() {
                serving.reachable.insert(index as u16);
            }
            if weight > 0 {
                serving.weights.push((address, weight));
                serving.indexes.push(index as u16);
            }
        }
        for index in &places.gone {
            let place = base + index;
            if self.held.backend(held_base + index).is_reachable() {
                plan.unreachable.push(Change::SetPlace { place, backend: Backend::UNREACHABLE });
            }
            if self.held.weight(held_base + index) != 0 {
                plan.places.push(Change::SetWeight { place, weight: 0 });
            }
        }
        Ok(serving)
    }

    /// The slots of the table that change. With `leaves`, the pool pinned every flow and is to do so no more, so that all
    /// slots settle.
    fn slots(&self, places: &Places, serving: &Serving, mode: Mode, leaves: bool) -> Option<Change> {
        let Region { slots_base: base, slots_len, .. } = places.region;
        let table = maglev::table(&serving.weights, slots_len);
        let slot = |(index, wanted): (u32, u16)| {
            let wanted = serving.indexes.get(usize::from(wanted)).copied().unwrap_or(NO_BACKEND);
            let held = self.held.slot(base + index);
            let slot = if places.fresh || mode.knows_all() {
                Slot::steady(wanted)
            } else {
                let held = if leaves && held.is_steady() { Slot::settling(held.current()) } else { held };
                retarget(held, wanted, |backend| serving.reachable.contains(&backend))
            };
            (places.fresh || slot != held).then_some((index, slot))
        };
        let moves: Vec<_> = (0..slots_len).zip(table).filter_map(slot).collect();
        (!moves.is_empty()).then_some(Change::WriteSlots { base, moves })
    }

    /// The schedule, where the pool takes turns: written over the one that it has if that is as long, else elsewhere.
    fn schedule(
        &mut self,
        pool: &Pool,
        listeners: &[&Listener],
        serving: &Serving,
        plan: &mut PoolPlan,
    ) -> Result<(), Fault> {
        if plan.mode.algorithm != Listener::ROUND_ROBIN {
            return Ok(());
        }
        let weights: Vec<u16> = serving.weights.iter().map(|(_, weight)| *weight).collect();
        let turns: Vec<Slot> = (schedule(&weights).into_iter())
            .map(|turn| Slot::steady(serving.indexes.get(usize::from(turn)).copied().unwrap_or(NO_BACKEND)))
            .collect();
        let len = turns.len() as u32;
        if len == 0 {
            return Ok(());
        }
        let held =
            listeners.iter().find(|listener| listener.schedule_len == len).map(|listener| listener.schedule_base);
        let kept = held.filter(|base| self.kept.0.claim(*base, slots_region(len)));
        let base = match kept {
            Some(base) => base,
            None => self.allocate_slots(pool, len)?,
        };
        let differs = |(index, slot): &(u32, Slot)| kept.is_none() || self.held.slot(base + index) != *slot;
        let moves: Vec<_> = (0..len).zip(turns).filter(differs).collect();
        if !moves.is_empty() {
            plan.slots.push(Change::WriteSlots { base, moves });
        }
        plan.schedule = (base, len);
        Ok(())
    }

    /// The pool's region, kept, grown or new; `None` for a pool that needs none yet.
    fn places(&mut self, pool: &Pool, listeners: &[&Listener], plan: &mut PoolPlan) -> Result<Option<Places>, Fault> {
        let wanted: BTreeSet<Address> = pool.backends.keys().map(|address| address.address()).collect();
        let Some(region) = self.keep(pool, listeners) else {
            if wanted.is_empty() {
                return Ok(None);
            }
            let slots_base = self.allocate_slots(pool, pool.slots)?;
            let (backends_base, backends_len) = self.allocate_places(pool, wanted.len() as u32)?;
            plan.places = self.freed(backends_base, backends_len);
            let region = Region { slots_base, slots_len: pool.slots, backends_base, backends_len };
            let places = Places { region, stay: BTreeMap::new(), gone: Vec::new(), fresh: true, moves_from: None };
            return Ok(Some(places));
        };
        let base = region.backends_base;
        let mut places = Places { region, stay: BTreeMap::new(), gone: Vec::new(), fresh: false, moves_from: None };
        for (place, owner) in self.held.owners_in(base..base + region.backends_len) {
            let index = place - base;
            if wanted.contains(&owner) && !places.stay.contains_key(&owner) {
                places.stay.insert(owner, index);
            } else {
                places.gone.push(index);
            }
        }
        let needed = (wanted.len() + places.gone.len()) as u32;
        if needed > region.backends_len {
            let (new_base, new_len) = self.allocate_places(pool, needed)?;
            plan.moves = true;
            plan.copies = self.freed(new_base, new_len);
            (places.region.backends_base, places.region.backends_len) = (new_base, new_len);
            places.moves_from = Some(base);
            // Places of those that are gone are copied too: slots and pins name them.
            let owned = places.stay.values().chain(&places.gone);
            plan.copies.extend(owned.map(|index| Change::CopyPlace { from: base + index, to: new_base + index }));
        }
        Ok(Some(places))
    }

    /// The region that the pool's listeners have in the maps, if it fits the pool and no other pool has it. The largest
    /// one, if they differ because an agent was killed while it moved the pool.
    fn keep(&mut self, pool: &Pool, listeners: &[&Listener]) -> Option<Region> {
        let held = listeners.iter().map(|listener| Region::of(listener));
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

    fn allocate_slots(&mut self, pool: &Pool, count: u32) -> Result<u32, Fault> {
        let base = self.slots.allocate(slots_region(count), limits::SLOTS_PER_LINE as u32);
        base.ok_or_else(|| no_room(pool, SLOTS))
    }

    fn allocate_places(&mut self, pool: &Pool, needed: u32) -> Result<(u32, u32), Fault> {
        if needed > MAX_PLACES {
            return Err(no_room(pool, "places for backends"));
        }
        let len = places_region(needed);
        let base = self.places.allocate(len, len).ok_or_else(|| no_room(pool, "places for backends"))?;
        Ok((base, len))
    }

    /// Frees what a killed agent may have left in a region that is free.
    fn freed(&self, base: u32, len: u32) -> Vec<Change> {
        self.held.owners_in(base..base + len).map(|(place, _)| Change::FreePlace { place }).collect()
    }
}

/// What a lookup table is of.
const SLOTS: &str = "slots";

fn no_room(pool: &Pool, what: &str) -> Fault {
    Fault::unavailable(format!(
        "there is no room of one piece for the {what} of pool `{}`; remove listeners that are not needed{}",
        pool.name,
        if what == SLOTS {
            ", give listeners smaller tables (`--slots`), or make more room (`room` of `[tables]` in the agent's configuration)"
        } else {
            ""
        }
    ))
}
