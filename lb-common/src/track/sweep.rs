//! The agent's side of the pins: which of them a sweep removes.
//!
//! A sweep goes through the young table first and then through the established one, the way that pins go; so it misses none.
//! It looks at a batch of pins, judges each by [`is_done`] with the slots as they are then, and removes those that are
//! done before a slot is written. When it is through, the agent tells each [`Watch`] and each
//! [`Vacancy`](super::change::Vacancy) how many pins of it there were.
//!
//! A sweep costs a look at each pin; while no slot is unsteady there are none, and nothing to sweep for.

use super::change::Watch;
use super::pin::{Moment, Pin, Timing};

/// True if a pin can be removed. `watch` is that of the pin's slot; none if the slot is steady, or gone.
///
/// - In a steady slot nobody looks for pins.
/// - A flow that was silent for too long has ended. The grace is for a packet of it that is on its way.
/// - In a settling slot a pin to the current backend says what holds without it.
///
/// A pin to a backend that is gone stays: the flow's next packet writes it anew, or the flow has ended.
#[must_use]
pub fn is_done(pin: &Pin, watch: Option<&Watch>, now: Moment, timing: &Timing) -> bool {
    let Some(watch) = watch else { return true };
    let silent_for_long = now.since(pin.seen) > timing.timeouts.of(pin.state).saturating_add(timing.grace);
    silent_for_long || watch.has_no_use_for(pin.backend, now, timing.grace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::track::pin::Timeouts;

    const TIMING: Timing =
        Timing { timeouts: Timeouts { handshake: 2, established: 5, closing: 3, udp: 4, other: 4 }, grace: 1 };

    fn pin(backend: u16, state: u8) -> Pin {
        Pin { backend, state, reserved: 0, seen: Moment(10), slot: 0 }
    }

    fn done(pin: &Pin, slot: Slot, now: u32) -> bool {
        is_done(pin, Some(&Watch::new(slot, Moment(10))), Moment(now), &TIMING)
    }

    #[test]
    fn a_pin_lasts_as_long_as_its_state_lets_it() {
        for (state, last) in [(Pin::HANDSHAKE, 13), (Pin::ESTABLISHED, 16), (Pin::CLOSING, 14), (Pin::UDP, 15)] {
            assert!(!done(&pin(0, state), Slot::moving(0, 1), last), "state {state}");
            assert!(done(&pin(0, state), Slot::moving(0, 1), last + 1), "state {state}");
        }
    }

    #[test]
    fn a_pin_to_the_backend_of_a_settled_slot_has_done_its_work() {
        assert!(!done(&pin(1, Pin::ESTABLISHED), Slot::settling(1), 11), "a packet may still think that it moves");
        assert!(done(&pin(1, Pin::ESTABLISHED), Slot::settling(1), 12));
        assert!(!done(&pin(0, Pin::ESTABLISHED), Slot::settling(1), 12));
        assert!(!done(&pin(1, Pin::ESTABLISHED), Slot::moving(0, 1), 12));
        assert!(!done(&pin(0, Pin::ESTABLISHED), Slot::moving(0, 1), 12));
    }

    #[test]
    fn nobody_looks_for_a_pin_of_a_steady_slot() {
        assert!(is_done(&pin(0, Pin::ESTABLISHED), None, Moment(10), &TIMING));
    }
}
