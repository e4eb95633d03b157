//! The agent's side of a slot: what its word becomes when another backend is wanted, when a backend dies, and when time has
//! passed.

use super::pin::Moment;
use crate::slot::{NO_BACKEND, Slot};

/// The word of a slot when `wanted` is to have it ([`NO_BACKEND`] if none is left to), or when a backend that it names has
/// died. `serves` tells whether a backend is up or draining; `wanted` must be one that is.
///
/// What counts is who may have flows in the slot that are not pinned: in a steady slot the current backend, in a moving one
/// the previous (all others began since, and are pinned), in a settling one the current. That one becomes `previous`, so
/// that they find it; unless it is the wanted one itself, or dead, or nobody. No pin is in a steady slot, so it can go
/// from a dead backend to the next at once.
#[must_use]
pub fn retarget(slot: Slot, wanted: u16, serves: impl Fn(u16) -> bool) -> Slot {
    let unpinned = if slot.is_moving() { slot.previous() } else { slot.current() };
    if unpinned == wanted {
        if slot.is_steady() { slot } else { Slot::settling(wanted) }
    } else if unpinned != NO_BACKEND && serves(unpinned) {
        Slot::moving(unpinned, wanted)
    } else if slot.is_steady() {
        Slot::steady(wanted)
    } else {
        Slot::settling(wanted)
    }
}

/// A slot that isn't steady, as the agent watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    slot: Slot,
    since: Moment,
    found: Moment,
}

impl Watch {
    /// Watches a slot that was written just now. Also for a slot that the agent finds when it starts: as nobody knows how
    /// long it has been so, its time begins again.
    #[must_use]
    pub const fn new(slot: Slot, now: Moment) -> Self {
        Self { slot, since: now, found: now }
    }

    /// The slot's word.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// When the flows without a pin in it last became those of another backend.
    #[must_use]
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// When a sweep last found a pin in it, or a pin could still be written.
    #[must_use]
    pub const fn found(&self) -> Moment {
        self.found
    }

    /// The slot has a new word. A moving slot that only gets another `current` has the same flows to wait for as before, so
    /// its time goes on; all else begins again.
    pub fn changed(&mut self, slot: Slot, now: Moment) {
        let goes_on = self.slot.is_moving() && slot.is_moving() && slot.previous() == self.slot.previous();
        if slot != self.slot && !goes_on {
            *self = Self::new(slot, now);
        }
        self.slot = slot;
    }

    /// The word of a moving slot that may settle now: each flow that began before the change has shown itself and was
    /// pinned, or has been silent for longer than `idle`, the longest that its listeners' flows may be. Or there was none.
    ///
    /// `untouched` is when the agent last saw that none of the pool's listeners had ever forwarded a packet.
    ///
    /// `crowded` is when the agent last saw that the tables were crowded, at its look just before this. While they are, flows
    /// begin at `previous` without a pin, and old ones may find no room for theirs; so the slot waits, and loses none of them.
    #[must_use]
    pub fn settles(
        &self,
        now: Moment,
        idle: u32,
        grace: u32,
        crowded: Option<Moment>,
        untouched: Option<Moment>,
    ) -> Option<Slot> {
        let wait = idle.saturating_add(grace);
        // A packet that read the slot's last word was counted within the grace.
        let shown = now.since(self.since) > wait || untouched.is_some_and(|at| at.since(self.since) > grace);
        let stored = crowded.is_none_or(|at| now.since(at) > wait);
        (self.slot.is_moving() && shown && stored).then(|| Slot::settling(self.slot.current()))
    }

    /// The word of a settling slot that becomes steady by a whole sweep, of both tables, which found `pins` of it (those that
    /// it removed among them). If there were any, the slot waits for a later one.
    pub fn swept(&mut self, sweep_began: Moment, pins: u32, now: Moment, grace: u32) -> Option<Slot> {
        if !self.slot.is_settling() {
            return None;
        }
        if pins > 0 {
            self.found = now;
            return None;
        }
        is_late_enough(sweep_began, self.found, grace).then(|| Slot::steady(self.slot.current()))
    }

    /// True if pins on the slot's current backend have done their work, for a sweep that began then: without one, a flow goes
    /// there too, and if the slot moves on, that backend will be the previous.
    #[must_use]
    pub fn has_no_use_for(&self, backend: u16, sweep_began: Moment, grace: u32) -> bool {
        let useless = self.slot.is_settling() && backend == self.slot.current();
        useless && is_late_enough(sweep_began, self.since, grace)
    }
}

/// A backend's place that nobody holds any more, until it may be given to another backend: no slot names it, it is marked
/// as unreachable, and pins may still name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vacancy {
    since: Moment,
    clean: Option<Moment>,
}

impl Vacancy {
    /// The place was given up just now.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { since: now, clean: None }
    }

    /// When the place was given up, or, later, when a sweep last found a pin that names it.
    #[must_use]
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// When a sweep first found that no pin names it any more.
    #[must_use]
    pub const fn clean(&self) -> Option<Moment> {
        self.clean
    }

    /// A whole sweep found `pins` that name the place.
    pub fn swept(&mut self, sweep_began: Moment, pins: u32, now: Moment, grace: u32) {
        if pins > 0 {
            *self = Self::new(now);
        } else if self.clean.is_none() && is_late_enough(sweep_began, self.since, grace) {
            self.clean = Some(now);
        }
    }

    /// True if the place may be given away: no pin names it, and no packet is left that read one which did.
    #[must_use]
    pub fn is_free(&self, now: Moment, grace: u32) -> bool {
        self.clean.is_some_and(|clean| now.since(clean) > grace)
    }
}

/// True if a sweep began late enough to be believed when it finds no pin, after one was there (or could still be written)
/// at `since`. A packet that was promoting the pin when it was removed has taken it out of the young table, and put it back
/// into the established one, within the grace; another one that saw it in the young table until then, within twice that.
const fn is_late_enough(sweep_began: Moment, since: Moment, grace: u32) -> bool {
    sweep_began.since(since) > 2 * grace
}

#[cfg(test)]
mod tests;
