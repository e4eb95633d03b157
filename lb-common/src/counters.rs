//! The counters of one CPU, in one piece of memory.
//!
//! Each CPU has its own, so that counting is an addition that nobody else waits for; who reads a counter adds up those of all.
//! They are an array by the CPU's number, not a per-CPU array of each kind: a packet counts in three places, and looks up one.

use crate::limits::{MAX_BACKENDS, MAX_LISTENERS};
use crate::outcome::{Counter, Outcome};

/// Room for the outcomes: a power of two.
pub const OUTCOMES: usize = 32;

/// The kernel's coarse clock as a CPU read it last, and when: it stands still for as long as the count of ticks does, so that most
/// packets need not ask the kernel, which takes more than half as long as a look-up in a hash map.
#[repr(C)]
pub struct Clock {
    /// `jiffies` at that time.
    pub ticks: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub nanos: u64,
}

/// What one CPU has counted. 2.4 MB. In cache lines of its own, so that no CPU writes to another's.
#[repr(C, align(64))]
pub struct Counters {
    /// By an outcome's number.
    pub outcomes: [Counter; OUTCOMES],
    /// Beside them as it is the CPU's own, too.
    pub clock: Clock,
    /// What was sent to backends, by a listener's id.
    pub listeners: [Counter; MAX_LISTENERS as usize],
    /// What was sent to a backend, by its place.
    pub backends: [Counter; MAX_BACKENDS as usize],
}

const _: () = assert!(Outcome::COUNT as usize <= OUTCOMES);
// An index is bounded by a mask, which costs less than a comparison.
const _: () = assert!(OUTCOMES.is_power_of_two() && MAX_LISTENERS.is_power_of_two() && MAX_BACKENDS.is_power_of_two());
