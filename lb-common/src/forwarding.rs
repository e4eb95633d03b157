//! What packets are forwarded by: all tables that the agent writes and nearly every packet reads, in one piece of memory.
//!
//! They are one element of one array, as a look-up in a map costs a packet more than what is behind it: some 14 instructions, and
//! what was in registers has to be put aside. A packet looks the piece up once; its parts are at known places in it.

use core::mem::offset_of;

use crate::backend::{Backend, Segment};
use crate::limits::{MAX_BACKENDS, MAX_GLANCES, MAX_SEGMENTS};
use crate::slot::Glance;
use crate::table::{ListenerEntry, PLACES, VipEntry};

/// The tables. 15.7 MB; the kernel takes elements of that size from Linux 6.0 on.
#[repr(C)]
pub struct Forwarding {
    /// Listeners: a [`crate::table`].
    pub listeners: [ListenerEntry; PLACES as usize],
    /// VIPs: a [`crate::table`].
    pub vips: [VipEntry; PLACES as usize],
    /// Backends of all pools by their place, one region a pool.
    pub backends: [Backend; MAX_BACKENDS as usize],
    /// Glances at the first slots of all.
    pub glances: [Glance; MAX_GLANCES as usize],
    /// Segments by their index.
    pub segments: [Segment; MAX_SEGMENTS as usize],
}

// The agent maps each part into its memory, and memory is mapped in pages: of 64 KiB at most.
const LARGEST_PAGE: usize = 1 << 16;
const _: () = assert!(
    offset_of!(Forwarding, vips) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, backends) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, glances) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, segments) % LARGEST_PAGE == 0
);
// An index is bounded by a mask, which costs less than a comparison.
const _: () = assert!(PLACES.is_power_of_two() && MAX_BACKENDS.is_power_of_two() && MAX_SEGMENTS.is_power_of_two());
