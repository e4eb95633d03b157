//! What the agent does about flows that are remembered: it watches slots until they are steady, sweeps pins and sessions,
//! counts flows, frees places, and sees when a backend has drained.
//!
//! The rules are those of [`lb_common::track`]; this module applies them to the maps. It is pure but for the
//! [`DataPlane`] that it is handed, and is told the time by it. A sweep goes in steps of about a millisecond, between which
//! the engine does commands; each step reads a batch of pins, judges them by the slots as they are, and removes those that
//! are done before anything else is written. What the last steps find out is carried out as [`Change`]s, like a plan.
//!
//! [`DataPlane`]: crate::reconcile::DataPlane
//!
//! Tested by the random plans in `reconcile/tests.rs` and by the engine's tests.

mod finish;
mod pool;
mod sweep;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::limits::{MAX_ESTABLISHED_PINS, MAX_YOUNG_PINS};
use lb_common::listener::{Listener, ListenerKey};
use lb_common::track::pin::{Moment, Table, Timing};
use lb_common::track::sweep::{Fill, is_crowded};

use self::pool::Tracked;
use self::sweep::Sweep;
use crate::model::{BackendAddr, Desired, Fault, Name};
use crate::reconcile::{Change, DataPlane, Held};

pub use self::pool::SlotCounts;

/// What the agent knows of the flows that are remembered.
#[derive(Debug, Default)]
pub struct Tracker {
    /// By the pools' numbers. In boxes, as a map has room for up to twice as many.
    pools: HashMap<u32, Box<Tracked>>,
    /// The pools' numbers by the first slot of their tables.
    tables: HashMap<u32, u32>,
    /// The pools' numbers by what their listeners listen on, as the maps hold them.
    listeners: HashMap<ListenerKey, u32>,
    /// Pools that got or lost a listener in the maps since this was last synced.
    changed: BTreeSet<u32>,
    /// Pools that there is something to sweep of.
    working: BTreeSet<u32>,
    sweep: Option<Sweep>,
    /// When the tables of pins were last seen to be crowded.
    crowded: Option<Moment>,
    /// What the last sweep found.
    found: Found,
    /// True if there may be something to sweep though no pool says so.
    leftovers: bool,
    /// Ticks that the last sweep took.
    took: Option<u32>,
}

/// How many of what a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Pins in the young table.
    pub young: u64,
    /// Pins in the established table.
    pub established: u64,
    /// Sessions.
    pub sessions: u64,
}

impl Found {
    fn of(&mut self, table: Table) -> &mut u64 {
        match table {
            Table::Young => &mut self.young,
            Table::Established => &mut self.established,
        }
    }
}

/// What a step of a sweep leads to.
#[derive(Debug, Default)]
pub struct Step {
    /// What must change in the maps.
    pub changes: Vec<Change>,
    /// Backends that have no flow left and drain.
    pub drained: Vec<(Name, BackendAddr)>,
    /// True if that was the sweep's last step.
    pub last: bool,
}

impl Tracker {
    /// A tracker that knows nothing yet: its first sweep looks for what an earlier agent left.
    #[must_use]
    pub fn new() -> Self {
        Self { leftovers: true, ..Self::default() }
    }

    /// Takes up what pools are wanted to be and what the maps hold, for all pools or for those with these names. With
    /// `reread`, the image of the maps was read anew, so that slots may be other than they were written.
    pub fn sync(&mut self, desired: &Desired, held: &Held, pools: Option<&BTreeSet<Name>>, reread: bool, now: Moment) {
        let mut changed = std::mem::take(&mut self.changed);
        let names = match pools {
            Some(pools) => pools,
            None => {
                self.listeners = held.listeners.iter().map(|(key, listener)| (*key, listener.pool)).collect();
                changed.extend(self.pools.keys());
                &desired.pools.keys().cloned().collect()
            }
        };
        for name in names {
            changed.extend(self.take_up(desired, held, name, reread, now));
        }
        for number in changed {
            let own = |listener: &Listener, id| listener.pool == number && listener.id == id;
            if !held.listeners.has_pool(number) {
                self.forget(number);
            } else if let Some(tracked) = self.pools.get_mut(&number) {
                tracked.forget_listeners(|key, id| held.listeners.get(key).is_some_and(|listener| own(listener, id)));
            }
            self.look_for_work(number);
        }
    }

    /// Takes up a pool, and returns the numbers that it has in the maps.
    fn take_up(&mut self, desired: &Desired, held: &Held, name: &Name, reread: bool, now: Moment) -> BTreeSet<u32> {
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        let Some(pool) = desired.pools.get(name) else { return BTreeSet::new() };
        for listener in desired.listeners_of(name) {
            let Some(held_listener) = held.listeners.get(&listener.key()) else { continue };
            let idle = seen.entry(held_listener.pool).or_default();
            *idle = (*idle).max(pool.timeouts.ticks().longest(listener.protocol.number()));
            let known = self.pools.contains_key(&held_listener.pool);
            let tracked = self.pools.entry(held_listener.pool).or_default();
            tracked.adopt(held_listener, now);
            tracked.listens(listener.key(), held_listener);
            tracked.set(pool, *idle, held, now);
            // A pool that never had a backend has no table.
            if held_listener.slots_len > 0 {
                self.tables.insert(held_listener.slots_base, held_listener.pool);
            }
            if !known || reread {
                tracked.look_at_slots(held, now);
            }
        }
        seen.into_keys().collect()
    }

    /// Forgets a pool that no listener has any more.
    fn forget(&mut self, number: u32) {
        if let Some(tracked) = self.pools.remove(&number) {
            let base = tracked.listener.slots_base;
            if self.tables.get(&base) == Some(&number) {
                self.tables.remove(&base);
            }
            self.leftovers = true;
        }
    }

    /// Sees whether there is something to sweep of a pool.
    fn look_for_work(&mut self, number: u32) {
        if self.pools.get(&number).is_some_and(|pool| pool.has_work()) {
            self.working.insert(number);
        } else {
            self.working.remove(&number);
        }
    }

    /// Follows a change of the maps.
    pub fn note(&mut self, change: &Change, now: Moment) {
        match change {
            Change::WriteSlots { base, moves } => {
                let number = self.tables.get(base).copied();
                let table = number.and_then(|number| self.pools.get_mut(&number));
                if let Some(pool) = table.filter(|pool| pool.has_table(*base)) {
                    pool.wrote(moves, now);
                }
                number.into_iter().for_each(|number| self.look_for_work(number));
            }
            Change::PutListener { key, listener, .. } => {
                let before = self.listeners.insert(*key, listener.pool);
                self.changed.extend(before.into_iter().chain([listener.pool]));
                if let Some(pool) = self.pools.get_mut(&listener.pool) {
                    pool.adopt(listener, now);
                }
                self.look_for_work(listener.pool);
            }
            Change::RemoveListener { key } => self.changed.extend(self.listeners.remove(key)),
            _ => {}
        }
    }

    /// True if there may be something to sweep.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.leftovers || self.sweep.is_some() || !self.working.is_empty()
    }

    /// True between the first and the last step of a sweep.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Gives up a sweep that cannot go on; the next one begins anew.
    pub fn abandon(&mut self) {
        self.sweep = None;
    }

    /// Takes the next step of the sweep, the first one if there is none.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn step(&mut self, plane: &mut dyn DataPlane, held: &Held) -> Result<Step, Fault> {
        let now = plane.now();
        let mut sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => self.begin(now),
        };
        let step = sweep.step(self, plane, held, now)?;
        if step.last {
            self.found = sweep.found;
            self.took = Some(now.since(sweep.began));
            self.leftovers = self.found != Found::default();
        } else {
            self.sweep = Some(sweep);
        }
        Ok(step)
    }

    fn begin(&mut self, now: Moment) -> Sweep {
        for pool in self.pools.values_mut() {
            pool.begin_sweep();
        }
        Sweep::new(now, self.working.iter().copied().collect())
    }

    /// Marks the tables of pins as crowded, or not, by what a sweep left in them.
    fn judge_crowding(&mut self, plane: &mut dyn DataPlane, found: Found, now: Moment) {
        let young = Fill { pins: found.young, room: MAX_YOUNG_PINS.into() };
        let established = Fill { pins: found.established, room: MAX_ESTABLISHED_PINS.into() };
        let was = plane.pins_are_crowded();
        let crowded = is_crowded(was, young, established);
        if was || crowded {
            self.crowded = Some(now);
        }
        if was != crowded {
            plane.mark_pins_crowded(crowded);
        }
    }

    /// When the tables of pins were last seen to be crowded, by a look just now.
    fn look_for_crowding(&mut self, plane: &dyn DataPlane, now: Moment) -> Option<Moment> {
        if plane.pins_are_crowded() {
            self.crowded = Some(now);
        }
        self.crowded
    }

    /// What the last sweep found.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// How long the last sweep took, in ticks.
    #[must_use]
    pub const fn took(&self) -> Option<u32> {
        self.took
    }

    /// In which states the slots of a pool are, by the pool's number; steady ones are not counted.
    #[must_use]
    pub fn slots(&self, pool: u32) -> SlotCounts {
        self.pools.get(&pool).map(|pool| pool.slots()).unwrap_or_default()
    }

    /// Slots of all pools that are not steady.
    #[must_use]
    pub fn unsteady(&self) -> u64 {
        let count = |slots: SlotCounts| u64::from(slots.moving) + u64::from(slots.settling);
        self.pools.values().map(|pool| count(pool.slots())).sum()
    }

    /// How many flows of a backend are remembered, by the pool's number and the backend's index, as of the last sweep;
    /// `None` where nothing is remembered.
    #[must_use]
    pub fn flows(&self, pool: u32, backend: u16) -> Option<u64> {
        self.pools.get(&pool).and_then(|pool| pool.flows(backend))
    }
}

/// The longest that a packet is on its way.
const GRACE: u32 = Timing::GRACE;
