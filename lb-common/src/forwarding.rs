//! What packets are forwarded by: all tables that the agent writes and nearly every packet reads, in one piece of memory.
//!
//! They are one element of one array, as a look-up in a map costs a packet more than what is behind it: some 14 instructions, and
//! what was in registers has to be put aside. Where the parts of one element are, is known when a program is loaded: the program
//! leaves their addresses open, and the agent fills them in.

use core::mem::offset_of;

use crate::backend::{Backend, Segment};
use crate::limits::{MAX_BACKENDS, MAX_GLANCES, MAX_SEGMENTS};
use crate::slot::{Glance, GlancePair};
use crate::table::{ListenerEntry, PLACES, VipEntry};

/// The tables. 17.8 MB; the kernel takes elements of that size from Linux 6.0 on.
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
    /// The same in pairs.
    pub pairs: [GlancePair; MAX_GLANCES as usize / 2],
    /// Segments by their index.
    pub segments: [Segment; MAX_SEGMENTS as usize],
}

/// The parts by the symbol that stands for their address in the object, and how many bytes behind the beginning they are.
pub const PARTS: [(&str, usize); 6] = [
    ("FORWARDING_LISTENERS", offset_of!(Forwarding, listeners)),
    ("FORWARDING_VIPS", offset_of!(Forwarding, vips)),
    ("FORWARDING_BACKENDS", offset_of!(Forwarding, backends)),
    ("FORWARDING_GLANCES", offset_of!(Forwarding, glances)),
    ("FORWARDING_PAIRS", offset_of!(Forwarding, pairs)),
    ("FORWARDING_SEGMENTS", offset_of!(Forwarding, segments)),
];

// The agent maps each part into its memory, and memory is mapped in pages: of 64 KiB at most.
const LARGEST_PAGE: usize = 1 << 16;
const _: () = assert!(
    offset_of!(Forwarding, vips) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, backends) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, glances) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, pairs) % LARGEST_PAGE == 0
        && offset_of!(Forwarding, segments) % LARGEST_PAGE == 0
);
// An index is bounded by a mask, which costs less than a comparison.
const _: () = assert!(PLACES.is_power_of_two() && MAX_BACKENDS.is_power_of_two());
const _: () = assert!(MAX_GLANCES.is_power_of_two() && MAX_SEGMENTS.is_power_of_two());
