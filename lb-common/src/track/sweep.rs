//! The agent's side of the pins: which of them a sweep removes.
//!
//! A sweep goes through the young table first and then through the established one, the way that pins go; so it misses none.
//! It looks at a batch of pins, judges each by [`is_done`] with the slots as they are then, and removes those that are
//! done before a slot is written. When it is through, the agent tells each [`Watch`] and each
//! [`Vacancy`](super::change::Vacancy) how many pins of it there were.
//!
//! A sweep costs a look at each pin, and a second one at each young one. While no slot is unsteady there are none, and nothing
//! to sweep for.

use super::change::Watch;
use super::pin::{Moment, Pin, Timing};

/// What the judgement goes by besides the pin.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// When the sweep began.
    pub began: Moment,
    /// The time.
    pub now: Moment,
    /// The agent's times.
    pub timing: &'a Timing,
}

/// True if a pin can be removed. `superseded` says of a young pin that its flow has an established one, too; `watch` is that of
/// the pin's slot, none if the slot is steady or gone.
///
/// - In a steady slot nobody looks for pins.
/// - A flow that was silent for too long has ended. The grace counts twice: for a packet that is on its way now, and for one
///   that was long on its way, and marked the pin with an earlier time than the packet before it.
/// - Nobody sees a young pin behind an established one. It must be gone before the established one may go: two first packets
///   of a UDP flow on two CPUs, in the moment of a change, can leave different ones.
/// - In a settling slot a pin to the current backend says what holds without it.
///
/// A pin to a backend that is gone stays: the flow's next packet writes it anew, or the flow has ended.
#[must_use]
pub fn is_done(pin: &Pin, superseded: bool, watch: Option<&Watch>, sweep: &Sweep<'_>) -> bool {
    let Some(watch) = watch else { return true };
    let grace = sweep.timing.grace;
    let silent_for_long = sweep.now.since(pin.seen) > sweep.timing.timeouts.of(pin.state).saturating_add(2 * grace);
    silent_for_long || superseded || watch.has_no_use_for(pin.backend, sweep.began, grace)
}

/// How full a table is, by what a sweep left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Pins.
    pub pins: u64,
    /// Pins that there is room for.
    pub room: u64,
}

impl Fill {
    const fn is_above(self, eighths: u64) -> bool {
        self.pins * 8 > self.room * eighths
    }
}

/// True if the tables are to be marked as crowded from now on. `was` is how they are marked now: by the agent before, or by a
/// packet whose pin found no room.
///
/// The young table is marked sooner than it is full, as what it pushes out is not counted; and the mark stays until there
/// is room to spare, so that it doesn't flap.
#[must_use]
pub const fn is_crowded(was: bool, young: Fill, established: Fill) -> bool {
    if was { young.is_above(4) || established.is_above(6) } else { young.is_above(6) || established.is_above(7) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::track::pin::Timeouts;

    const TIMING: Timing =
        Timing { timeouts: Timeouts { handshake: 2, established: 5, closing: 3, udp: 4, other: 4 }, grace: 1 };

    fn pin(backend: u16, state: u8) -> Pin {
        Pin { backend, state, reserved: 0, check: 0, seen: Moment(10), slot: 0 }
    }

    fn sweep(began: u32, now: u32) -> Sweep<'static> {
        Sweep { began: Moment(began), now: Moment(now), timing: &TIMING }
    }

    fn done(pin: &Pin, slot: Slot, now: u32) -> bool {
        is_done(pin, false, Some(&Watch::new(slot, Moment(10))), &sweep(now, now))
    }

    #[test]
    fn a_pin_lasts_as_long_as_its_state_lets_it() {
        for (state, last) in [(Pin::HANDSHAKE, 14), (Pin::ESTABLISHED, 17), (Pin::CLOSING, 15), (Pin::UDP, 16)] {
            assert!(!done(&pin(0, state), Slot::moving(0, 1), last), "state {state}");
            assert!(done(&pin(0, state), Slot::moving(0, 1), last + 1), "state {state}");
        }
    }

    #[test]
    fn a_pin_to_the_backend_of_a_settled_slot_has_done_its_work() {
        assert!(!done(&pin(1, Pin::ESTABLISHED), Slot::settling(1), 12), "a packet may still think that it moves");
        assert!(done(&pin(1, Pin::ESTABLISHED), Slot::settling(1), 13));
        assert!(!done(&pin(0, Pin::ESTABLISHED), Slot::settling(1), 13));
        assert!(!done(&pin(1, Pin::ESTABLISHED), Slot::moving(0, 1), 13));
        assert!(!done(&pin(0, Pin::ESTABLISHED), Slot::moving(0, 1), 13));
        let watch = Watch::new(Slot::settling(1), Moment(10));
        assert!(
            !is_done(&pin(1, Pin::ESTABLISHED), false, Some(&watch), &sweep(12, 13)),
            "a young one may be behind it"
        );
    }

    #[test]
    fn a_young_pin_behind_an_established_one_is_removed() {
        let watch = Watch::new(Slot::moving(0, 1), Moment(10));
        assert!(is_done(&pin(0, Pin::HANDSHAKE), true, Some(&watch), &sweep(10, 10)));
        assert!(!is_done(&pin(0, Pin::HANDSHAKE), false, Some(&watch), &sweep(10, 10)));
    }

    #[test]
    fn nobody_looks_for_a_pin_of_a_steady_slot() {
        assert!(is_done(&pin(0, Pin::ESTABLISHED), false, None, &sweep(10, 10)));
    }

    #[test]
    fn the_mark_of_crowded_tables_does_not_flap() {
        let fill = |pins| Fill { pins, room: 80 };
        for (young, established, goes_on, stays_on) in [
            (0, 0, false, false),
            (40, 60, false, false),
            (41, 60, false, true),
            (40, 61, false, true),
            (60, 70, false, true),
            (61, 0, true, true),
            (0, 71, true, true),
        ] {
            assert_eq!(is_crowded(false, fill(young), fill(established)), goes_on, "{young} and {established}");
            assert_eq!(is_crowded(true, fill(young), fill(established)), stays_on, "{young} and {established}");
        }
    }
}
