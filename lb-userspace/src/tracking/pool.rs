//! What is known of one pool's flows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::address::Port;
use lb_common::hash;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::slot::Slot;
use lb_common::track::change::{Vacancy, Watch};
use lb_common::track::pin::{Moment, Pin, PinKey, Timeouts, Timing};
use lb_common::track::sweep::{Sweep, is_done};

use super::GRACE;
use crate::model::{BackendAddr, Name, Pool};
use crate::reconcile::Held;

/// To the rule of a pin, the slots of a pool that pins every flow are always on the move.
const ALWAYS_MOVING: Watch = Watch::new(Slot::moving(0, 1), Moment(0));

/// How many slots of a table are not steady.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Moving ones.
    pub moving: u32,
    /// Settling ones.
    pub settling: u32,
}

/// A slot that isn't steady.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsteady {
    pub(super) watch: Watch,
    /// Its pins that the sweep has found so far.
    pub(super) pins: u32,
}

/// What a sweep counts of one backend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// Pins and sessions that name it, those that are removed among them.
    pub(super) named: u32,
    /// Pins that stay.
    pub(super) flows: u32,
    /// Those of them that are not closing.
    pub(super) active: u32,
}

/// A backend that drains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draining {
    pub(super) address: BackendAddr,
    /// Since when no slot leads flows to it that are not pinned.
    pub(super) empty: Vacancy,
}

/// A pool, as far as its flows go.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) name: Option<Name>,
    pub(super) listener: Listener,
    /// Ids of all the listeners that it has, or once had.
    pub(super) ids: BTreeSet<u32>,
    /// The listeners' ids, and whether they limit their flows, by what they listen on.
    listens: BTreeMap<ListenerKey, (u32, bool)>,
    /// Flows at work that the sweep has counted so far, by the ids of such listeners.
    pub(super) at_work: HashMap<u32, u64>,
    pub(super) timing: Timing,
    /// The longest that a flow of its protocols may be silent, in ticks.
    pub(super) idle: u32,
    /// How long a session lasts, in ticks; `None` without persistence.
    pub(super) session: Option<u32>,
    /// Since when flows are left that went by another hash, or were not pinned.
    pub(super) before: Option<Watch>,
    /// When it was last seen that none of its listeners had ever forwarded a packet.
    pub(super) untouched: Option<Moment>,
    /// True as soon as one has.
    pub(super) touched: bool,
    /// The slots that are not steady, by their index in the table.
    pub(super) unsteady: HashMap<u32, Unsteady>,
    /// Places of backends that are gone, by their index in the pool.
    pub(super) vacant: HashMap<u16, Vacancy>,
    pub(super) draining: HashMap<u16, Draining>,
    /// What the sweep has counted so far.
    pub(super) counts: HashMap<u16, Count>,
    /// What the last one counted.
    pub(super) counted: HashMap<u16, Count>,
}

impl Default for Tracked {
    fn default() -> Self {
        Self {
            name: None,
            listener: bytemuck::Zeroable::zeroed(),
            ids: BTreeSet::new(),
            listens: BTreeMap::new(),
            at_work: HashMap::new(),
            timing: Timing { timeouts: Timeouts::DEFAULT, grace: GRACE },
            idle: 0,
            session: None,
            before: None,
            untouched: None,
            touched: false,
            unsteady: HashMap::new(),
            vacant: HashMap::new(),
            draining: HashMap::new(),
            counts: HashMap::new(),
            counted: HashMap::new(),
        }
    }
}

impl Tracked {
    /// Takes up one of its listeners, as it stands in the maps: all have the same regions and the same mode.
    pub(super) fn adopt(&mut self, listener: &Listener, now: Moment) {
        if self.listener.slots_base != listener.slots_base || self.listener.slots_len != listener.slots_len {
            self.unsteady.clear();
        }
        let before = listener.before != Listener::BEFORE_NOTHING;
        if !before {
            self.before = None;
        } else if self.before.is_none() || self.listener.before != listener.before {
            self.before = Some(Watch::new(Slot::moving(0, 1), now));
        }
        self.listener = *listener;
        self.ids.insert(listener.id);
    }

    /// Takes up what is set of it, and who has which place.
    pub(super) fn set(&mut self, pool: &Pool, idle: u32, held: &Held, now: Moment) {
        self.name = Some(pool.name.clone());
        self.timing.timeouts = pool.timeouts.ticks();
        self.idle = idle;
        let ticks = |seconds: u32| Moment::ticks(u64::from(seconds) * 1_000);
        self.session = pool.persistence.map(|persistence| ticks(persistence.timeout));

        let (vacant, draining) = (std::mem::take(&mut self.vacant), std::mem::take(&mut self.draining));
        let base = self.listener.backends_base;
        let wanted: HashMap<_, _> =
            pool.backends.values().map(|backend| (backend.address.address(), backend)).collect();
        let mut seen = BTreeSet::new();
        for (place, owner) in held.owners_in(base..base.saturating_add(self.listener.backends_len)) {
            let index = (place - base) as u16;
            match wanted.get(&owner).filter(|_| seen.insert(owner)) {
                None => {
                    let since = vacant.get(&index).copied().unwrap_or(Vacancy::new(now));
                    self.vacant.insert(index, since);
                }
                Some(backend) if backend.drain.is_some_and(|drain| !drain.drained) => {
                    let new = Draining { address: backend.address, empty: Vacancy::new(now) };
                    self.draining.insert(index, draining.get(&index).copied().unwrap_or(new));
                }
                Some(_) => {}
            }
        }
    }

    /// Finds the slots that are not steady.
    pub(super) fn look_at_slots(&mut self, held: &Held, now: Moment) {
        let Listener { slots_base, slots_len, .. } = self.listener;
        let slots: Vec<_> = (0..slots_len)
            .map(|index| (index, held.slot(slots_base + index)))
            .filter(|(index, slot)| {
                !slot.is_steady() || (!self.unsteady.is_empty() && self.unsteady.contains_key(index))
            })
            .collect();
        self.wrote(&slots, now);
    }

    /// True if its lookup table begins there.
    pub(super) fn has_table(&self, base: u32) -> bool {
        self.listener.slots_len > 0 && self.listener.slots_base == base
    }

    /// Slots have been written.
    pub(super) fn wrote(&mut self, moves: &[(u32, Slot)], now: Moment) {
        for (index, slot) in moves {
            if slot.is_steady() {
                self.unsteady.remove(index);
            } else {
                let new = Unsteady { watch: Watch::new(*slot, now), pins: 0 };
                self.unsteady.entry(*index).or_insert(new).watch.changed(*slot, now);
            }
        }
    }

    /// True if all flows are pinned, or such that went before are followed as if they were.
    pub(super) fn pins(&self) -> bool {
        self.listener.pins_every_flow()
    }

    pub(super) fn has_work(&self) -> bool {
        self.pins() || !self.unsteady.is_empty() || !self.vacant.is_empty() || !self.draining.is_empty()
    }

    pub(super) fn begin_sweep(&mut self) {
        self.counts.clear();
        self.at_work.clear();
        for slot in self.unsteady.values_mut() {
            slot.pins = 0;
        }
    }

    /// Counts a pin, and tells whether it is done, in a sweep that began then.
    pub(super) fn judge(&mut self, key: &PinKey, pin: &Pin, began: Moment, now: Moment) -> bool {
        // A pin's own slot may be by another hash than the pool's of now.
        let slot = self.unsteady.get_mut(&self.listener_slot(key));
        let watch = slot.map(|slot| {
            slot.pins = slot.pins.saturating_add(1);
            slot.watch
        });
        let watch = if self.pins() { Some(ALWAYS_MOVING) } else { watch };
        let done = is_done(pin, false, watch.as_ref(), &Sweep { began, now, timing: &self.timing });
        let count = self.counts.entry(pin.backend).or_default();
        count.named += 1;
        if !done {
            count.flows += 1;
            count.active += u32::from(pin.state != Pin::CLOSING);
            self.count_limited(key, pin);
        }
        done
    }

    /// Counts a flow with the listener that limits it. One of which only the first packet was seen is not at work: it was
    /// counted by the program when it began, and is forgotten with the next sweep, so that a flood of SYNs keeps nobody out
    /// for longer.
    fn count_limited(&mut self, key: &PinKey, pin: &Pin) {
        if self.limited().next().is_none() || matches!(pin.state, Pin::CLOSING | Pin::HANDSHAKE) {
            return;
        }
        let exact = ListenerKey::exact(&key.flow());
        let keys = [exact, ListenerKey { port: Port::ANY, ..exact }, ListenerKey::any_protocol(exact.vip)];
        // The most exact one has the flow, whether it is limited or not.
        let listener = keys.iter().find_map(|key| self.listens.get(key));
        if let Some((id, true)) = listener {
            *self.at_work.entry(*id).or_default() += 1;
        }
    }

    /// Takes up one of its listeners by what it listens on.
    pub(super) fn listens(&mut self, key: ListenerKey, listener: &Listener) {
        self.listens.insert(key, (listener.id, listener.guards & Listener::GUARD_FLOWS != 0));
    }

    /// Forgets listeners that are not its own any more.
    pub(super) fn forget_listeners(&mut self, is_own: impl Fn(&ListenerKey, u32) -> bool) {
        self.listens.retain(|key, (id, _)| is_own(key, *id));
    }

    /// The ids of the listeners that limit their flows.
    pub(super) fn limited(&self) -> impl Iterator<Item = u32> {
        self.listens.values().filter(|(_, limited)| *limited).map(|(id, _)| *id)
    }

    fn listener_slot(&self, key: &PinKey) -> u32 {
        let flow = key.flow();
        let hash = match self.listener.hash() {
            Listener::SOURCE_IP => hash::source(hash::DEFAULT_KEY, &flow.source),
            _ => hash::flow(hash::DEFAULT_KEY, &flow),
        };
        hash::reduce(hash, self.listener.slots_len)
    }

    pub(super) fn slots(&self) -> SlotCounts {
        let settling = self.unsteady.values().filter(|slot| slot.watch.slot().is_settling()).count() as u32;
        SlotCounts { moving: self.unsteady.len() as u32 - settling, settling }
    }

    pub(super) fn flows(&self, backend: u16) -> Option<u64> {
        let tracked = self.pins() || !self.unsteady.is_empty();
        tracked.then(|| self.counted.get(&backend).map_or(0, |count| count.flows.into()))
    }
}
