//! The end of a sweep: what it tells of one pool.

use std::collections::BTreeSet;

use lb_common::listener::Listener;
use lb_common::slot::Slot;
use lb_common::track::change::Vacancy;
use lb_common::track::pin::Moment;

use super::pool::Tracked;
use super::{GRACE, Step, Tracker};
use crate::model::{BackendAddr, Fault};
use crate::reconcile::{Change, DataPlane, Held};

impl Tracker {
    /// Draws the conclusions of a sweep for one pool: slots that settle or are steady now, places that are free, backends
    /// that have drained, and the loads.
    pub(super) fn finish(
        &mut self,
        number: u32,
        began: Moment,
        plane: &mut dyn DataPlane,
        held: &Held,
        now: Moment,
    ) -> Result<Step, Fault> {
        let crowded = self.look_for_crowding(plane, now);
        let mut step = Step::default();
        let Some(pool) = self.pools.get_mut(&number) else { return Ok(step) };
        pool.look_for_packets(plane, now)?;
        pool.counted = std::mem::take(&mut pool.counts);
        pool.write_loads(plane, held);
        for id in pool.limited() {
            plane.set_listener_flows(id, pool.at_work.get(&id).copied().unwrap_or(0));
        }
        let drained = pool.drained(began, now);
        if let Some(name) = &pool.name {
            step.drained = drained.into_iter().map(|address| (name.clone(), address)).collect();
        }
        step.changes = pool.free_places(began, now);
        if pool.before_is_over(crowded, now) {
            step.changes.extend(pool.end_before(number, held));
        } else {
            let moves = pool.slots_to_write(began, crowded, now);
            if !moves.is_empty() {
                step.changes.push(Change::WriteSlots { base: pool.listener.slots_base, moves });
            }
        }
        self.look_for_work(number);
        Ok(step)
    }
}

impl Tracked {
    /// Sees whether one of its listeners has forwarded a packet by now, if that is of use: where none has, no flow began
    /// before a change, and none has to be waited for.
    fn look_for_packets(&mut self, plane: &dyn DataPlane, now: Moment) -> Result<(), Fault> {
        let waits = self.before.is_some() || self.unsteady.values().any(|slot| slot.watch.slot().is_moving());
        if !waits || self.touched {
            return Ok(());
        }
        for id in &self.ids {
            self.touched |= plane.listener_counter(*id)?.packets > 0;
        }
        if !self.touched {
            self.untouched = Some(now);
        }
        Ok(())
    }

    /// Writes how many flows each backend has, where new flows go by that. What is closing is as good as gone.
    fn write_loads(&self, plane: &mut dyn DataPlane, held: &Held) {
        if !self.pins() {
            return;
        }
        let base = self.listener.backends_base;
        for (place, _) in held.owners_in(base..base.saturating_add(self.listener.backends_len)) {
            let index = (place - base) as u16;
            plane.set_flows(place, self.counted.get(&index).map_or(0, |count| count.active));
        }
    }

    /// The draining backends that no slot leads flows to any more and that no pin names.
    fn drained(&mut self, began: Moment, now: Moment) -> Vec<BackendAddr> {
        if self.draining.is_empty() {
            return Vec::new();
        }
        let previous: BTreeSet<u16> = if self.knows_all() {
            BTreeSet::new()
        } else {
            let moving = self.unsteady.values().map(|slot| slot.watch.slot()).filter(|slot| slot.is_moving());
            moving.map(Slot::previous).collect()
        };
        let mut drained = Vec::new();
        for (index, draining) in &mut self.draining {
            if previous.contains(index) {
                draining.empty = Vacancy::new(now);
            } else {
                let named = self.counted.get(index).map_or(0, |count| count.named);
                draining.empty.swept(began, named, now, GRACE);
                if draining.empty.is_free(now, GRACE) {
                    drained.push(draining.address);
                }
            }
        }
        drained
    }

    /// Frees the places that nothing names any more.
    fn free_places(&mut self, began: Moment, now: Moment) -> Vec<Change> {
        let (counted, base) = (&self.counted, self.listener.backends_base);
        let mut free = Vec::new();
        self.vacant.retain(|index, vacancy| {
            let named = counted.get(index).map_or(0, |count| count.named);
            vacancy.swept(began, named, now, GRACE);
            let is_free = vacancy.is_free(now, GRACE);
            if is_free {
                free.push(Change::FreePlace { place: base + u32::from(*index) });
            }
            !is_free
        });
        free
    }

    /// The slots that get on: by the sweep from settling to steady, and by the time that has passed from moving to settling.
    fn slots_to_write(&mut self, began: Moment, crowded: Option<Moment>, now: Moment) -> Vec<(u32, Slot)> {
        let (pins, knows_all, idle, untouched) = (self.pins(), self.knows_all(), self.idle, self.untouched);
        let next = |slot: &mut super::pool::Unsteady| {
            let word = slot.watch.slot();
            let steady = Some(Slot::steady(word.current()));
            // Where every flow is pinned, and pins are followed whatever the slot says, a slot need not settle.
            if knows_all || (pins && word.is_settling()) {
                return steady;
            }
            match slot.watch.settles(now, idle, GRACE, crowded, untouched) {
                Some(_) if pins => steady,
                Some(settling) => Some(settling),
                None => slot.watch.swept(began, slot.pins, now, GRACE),
            }
        };
        self.unsteady.iter_mut().filter_map(|(index, slot)| Some((*index, next(slot)?))).collect()
    }

    /// True if every flow is pinned, and none of before is left that is not.
    fn knows_all(&self) -> bool {
        self.pins() && self.listener.before == Listener::BEFORE_NOTHING
    }

    /// True if each flow of before the last switch has shown itself since, or was silent for too long.
    fn before_is_over(&self, crowded: Option<Moment>, now: Moment) -> bool {
        self.before.is_some_and(|watch| watch.settles(now, self.idle, GRACE, crowded, self.untouched).is_some())
    }

    /// The listeners need no more say what went before. If the pool still pins every flow, no packet needs to know what a
    /// slot had before, so all are steady at once. If not, its slots settle first.
    fn end_before(&self, number: u32, held: &Held) -> Vec<Change> {
        let mine = held.listeners.iter().filter(|(_, listener)| listener.pool == number);
        let listeners = mine.map(|(key, listener)| {
            let listener = Listener { before: Listener::BEFORE_NOTHING, ..*listener };
            Change::PutListener { key: *key, listener, new: false }
        });
        let base = self.listener.slots_base;
        let slots = (0..self.listener.slots_len).map(|index| (index, held.slot(base + index)));
        let after = Listener { before: Listener::BEFORE_NOTHING, ..self.listener };
        if after.pins_every_flow() {
            let unsteady = slots.filter(|(_, slot)| !slot.is_steady());
            let moves: Vec<_> = unsteady.map(|(index, slot)| (index, Slot::steady(slot.current()))).collect();
            let slots = (!moves.is_empty()).then_some(Change::WriteSlots { base, moves });
            listeners.chain(slots).collect()
        } else {
            let steady = slots.filter(|(_, slot)| slot.is_steady());
            let moves = steady.map(|(index, slot)| (index, Slot::settling(slot.current()))).collect();
            std::iter::once(Change::WriteSlots { base, moves }).chain(listeners).collect()
        }
    }
}
