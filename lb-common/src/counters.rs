//! The counters of one CPU, in one piece of memory.
//!
//! Each CPU has its own, so that counting is an addition that nobody else waits for; who reads a counter adds up those of all.
//! They lie side by side by the CPU's number, and are no per-CPU arrays: a packet counts in two places, and looks nothing up.

use crate::limits::{MAX_BACKENDS, MAX_LISTENERS};
use crate::outcome::{Counter, Outcome};

/// The symbol that stands for the address of the first CPU's in the object: it is filled in before the program is loaded, as
/// [`crate::forwarding::PARTS`] are.
pub const SYMBOL: &str = "ALL_COUNTERS";
/// How many CPUs can have theirs in one element: the kernel lets a program go no further than 512 MB (`BPF_MAX_VAR_OFF` of
/// linux/bpf_verifier.h) into it. Where there are more, each has an element, and a packet looks it up.
pub const MOST_IN_ONE: usize = (1 << 29) / size_of::<Counters>();

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

/// What one CPU has counted. 2.6 MB. In cache lines of its own, so that no CPU writes to another's.
#[repr(C, align(64))]
pub struct Counters {
    /// By an outcome's number. What was forwarded is counted with its listener, and only here when that is gone: nearly all packets
    /// are, and so they count in one place less.
    pub outcomes: [Counter; OUTCOMES],
    /// Beside them as it is the CPU's own, too.
    pub clock: Clock,
    /// What was sent to backends out of the interface that it came in by ([`Outcome::Forwarded`]), by a listener's id.
    pub forwarded: [Counter; MAX_LISTENERS as usize],
    /// What was sent out of others ([`Outcome::Redirected`]), in the same way.
    pub redirected: [Counter; MAX_LISTENERS as usize],
    /// What was sent to a backend, by its place.
    pub backends: [Counter; MAX_BACKENDS as usize],
}

const _: () = assert!(Outcome::COUNT as usize <= OUTCOMES);
// An index is bounded by a mask, which costs less than a comparison.
const _: () = assert!(OUTCOMES.is_power_of_two() && MAX_LISTENERS.is_power_of_two() && MAX_BACKENDS.is_power_of_two());
