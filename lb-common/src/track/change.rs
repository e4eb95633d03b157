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
    /// The slot's word.
    slot: Slot,
    /// When the flows without a pin in it last became those of another backend, or, later, when a sweep last found a pin
    /// in it.
    since: Moment,
}

impl Watch {
    /// Watches a slot that was written just now. Also for a slot that the agent finds when it starts: as nobody knows how
    /// long it has been so, its time begins again.
    #[must_use]
    pub const fn new(slot: Slot, now: Moment) -> Self {
        Self { slot, since: now }
    }

    /// The slot's word.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// The slot has a new word. A moving slot that only gets another `current` has the same flows to wait for as before, so
    /// its time goes on; all else begins again.
    pub fn changed(&mut self, slot: Slot, now: Moment) {
        let goes_on = self.slot.is_moving() && slot.is_moving() && slot.previous() == self.slot.previous();
        if slot != self.slot && !goes_on {
            self.since = now;
        }
        self.slot = slot;
    }

    /// The word of a moving slot that may settle now: each flow that began before the change has shown itself and was
    /// pinned, or has been silent for longer than `idle`, the longest that its listeners' flows may be.
    ///
    /// `overflow` is when the agent last saw that there was no room for a pin, at its look just before this. While pins
    /// don't fit, old flows are not pinned, but keep to `previous`; so the slot waits, and loses none of them.
    #[must_use]
    pub fn settles(&self, now: Moment, idle: u32, grace: u32, overflow: Option<Moment>) -> Option<Slot> {
        let wait = idle.saturating_add(grace);
        let shown = now.since(self.since) > wait;
        let stored = overflow.is_none_or(|at| now.since(at) > wait);
        (self.slot.is_moving() && shown && stored).then(|| Slot::settling(self.slot.current()))
    }

    /// The word of a settling slot that becomes steady by a whole sweep, of both tables, which found `pins` of it (those that
    /// it removed among them). If there were any, the slot waits for the next sweep: a packet that saw one before it was
    /// removed may still put it in again, at another place.
    pub fn swept(&mut self, sweep_began: Moment, pins: u32, now: Moment, grace: u32) -> Option<Slot> {
        if !self.slot.is_settling() {
            return None;
        }
        if pins > 0 {
            self.since = now;
            return None;
        }
        (sweep_began.since(self.since) > grace).then(|| Slot::steady(self.slot.current()))
    }

    /// True if pins on the slot's current backend have done their work: without one, a flow goes there too, and if the slot
    /// moves on, that backend will be the previous.
    #[must_use]
    pub fn has_no_use_for(&self, backend: u16, now: Moment, grace: u32) -> bool {
        self.slot.is_settling() && backend == self.slot.current() && now.since(self.since) > grace
    }
}

/// A backend's place that nobody holds any more, until it may be given to another backend: no slot names it, it is marked
/// as unreachable, and pins may still name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vacancy {
    since: Moment,
}

impl Vacancy {
    /// The place was given up just now.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { since: now }
    }

    /// True if the place may be given away after a whole sweep that found `pins` which name it.
    pub fn swept(&mut self, sweep_began: Moment, pins: u32, now: Moment, grace: u32) -> bool {
        if pins > 0 {
            self.since = now;
        }
        pins == 0 && sweep_began.since(self.since) > grace
    }
}

#[cfg(test)]
mod tests;
