//! The table of the pins of flows at work: places in a mapped array, as a look-up in a kernel's hash map takes longer than all
//! else that a tracked packet does.
//!
//! A pin stands in one of the [`MOST_PROBES`] places from its home on. Packets on all CPUs look for pins and put them in while the
//! agent takes them out, and nobody waits for anybody. A place goes round in one direction, and each step is one side's alone:
//!
//! ```text
//!            a packet claims it          it has written key and pin
//!    free ──────────────────────▶ claimed ─────────────────────────▶ published
//!      ▲                                                                 │
//!      └──────────────────────── withdrawn ◀─────────────────────────────┘
//!         the agent, after a time                the agent takes the pin out
//! ```
//!
//! - Its *mark* says where on that round a place is, and of a published one, part of the flow's hash. Only the step from free to
//!   claimed is contested; it is one compare-and-swap.
//! - A withdrawn place is free again only when no packet can be on its way any more that saw it published
//!   ([`Timing::grace`](super::pin::Timing::grace)). So a pin may be written anew where it stands: it is nobody else's place by then.
//! - Two CPUs that pin one flow at the same moment may take two places. All packets follow the first of them, in the order of the
//!   search; the agent takes the other one out, and always before the first.
//! - A home's *reach* says which of the places behind it a pin of this home ever stood in, so that looking for a pin that is not
//!   there reads one cache line, and not all of the places.
//! - A pin whose places are all taken goes into a kernel's hash map, which the reach of its home says, too.

#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU32, Ordering};

use bytemuck::{Pod, Zeroable};

use super::pin::{Moment, Pin, PinKey};
use crate::limits::PIN_PLACES;

/// The places that a pin may stand in.
pub const MOST_PROBES: u32 = 8;
/// In a home's reach: a pin of this home was put among those that found no place.
const MORE: u32 = 1 << 31;

/// The bits of a mark that say where on its round a place is.
const STATE: u32 = 3;
/// The mark of a place that may be claimed.
pub const FREE: u32 = 0;
/// The mark of a place that a packet is writing to.
const CLAIMED: u32 = 1;
const PUBLISHED: u32 = 2;
const WITHDRAWN: u32 = 3;

const _: () = assert!(PIN_PLACES.is_power_of_two() && MOST_PROBES < 31);
const _: () = assert!(size_of::<PinPlace>() == 64);

/// A place: a cache line. No padding.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PinPlace {
    /// Where on its round it is, in the two lowest bits; then part of the hash of the flow, or when it was withdrawn.
    pub mark: u32,
    /// Of the pins whose home it is: bit `n` says that one ever stood `n` places behind, the highest that one found no place.
    pub reach: u32,
    /// What is remembered of the flow.
    pub pin: Pin,
    /// The flow, and the pool that it was balanced over.
    pub key: PinKey,
}

/// All places. 8.4 MB.
pub type PinPlaces = [PinPlace; PIN_PLACES as usize];

/// The symbol that stands for the address of the first place in the object: it is filled in before the program is loaded, as
/// [`crate::forwarding::PARTS`] are.
pub const SYMBOL: &str = "PIN_PLACES";

/// True if a place with this mark has a pin.
#[must_use]
pub const fn is_published(mark: u32) -> bool {
    mark & STATE == PUBLISHED
}

/// The mark of a place that is withdrawn at that moment.
#[must_use]
pub const fn withdrawn(now: Moment) -> u32 {
    now.0 << STATE.count_ones() | WITHDRAWN
}

/// True if a place with this mark was withdrawn, and that more than so many ticks ago.
#[must_use]
pub const fn has_rested(mark: u32, now: Moment, grace: u32) -> bool {
    mark & STATE == WITHDRAWN && withdrawn(now).wrapping_sub(mark) >> STATE.count_ones() > grace
}

/// True if that reach says that a pin found no place.
#[must_use]
pub const fn leads_to_more(reach: u32) -> bool {
    reach & MORE != 0
}

/// Words of a place: its mark, its reach, and what is remembered.
pub const WORDS: usize = size_of::<PinPlace>() / size_of::<u32>();

/// The first place from there on that was ever used, or is some pin's home, of all places as words. For the agent: packets know
/// where to look.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn next_used(words: &[AtomicU32], from: u32) -> Option<u32> {
    let mut places = (from..).zip(words.chunks_exact(WORDS).skip(from as usize));
    let is_used = |place: &[AtomicU32]| place.iter().take(2).any(|word| word.load(Ordering::Acquire) != 0);
    places.find(|(_, place)| is_used(place)).map(|(at, _)| at)
}

/// The place that many places behind another.
#[inline(always)]
#[must_use]
pub const fn behind(home: u32, probe: u32) -> u32 {
    home.wrapping_add(probe) & (PIN_PLACES - 1)
}

/// Where a pin is looked for, and by which mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The first of its places.
    pub home: u32,
    /// The mark of its place.
    pub mark: u32,
}

impl Sought {
    /// That of the flow with that hash. The home is made of its low bits: the high ones are those that choose the slot, and while
    /// few slots move, all flows that are pinned have nearly the same.
    #[inline(always)]
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        Self { home: behind(hash as u32, 0), mark: (hash >> 32) as u32 & !STATE | PUBLISHED }
    }
}

/// The places, and the map of those that found none, as a packet sees them. Each method is one access.
pub trait Places {
    /// What tells a pin's flow and pool.
    type Key: Copy;
    /// A place's mark.
    fn mark(&self, at: u32) -> u32;
    /// True if what stands in a place is the pin of that flow.
    fn is_of(&self, at: u32, key: Self::Key) -> bool;
    /// A home's reach.
    fn reach(&self, home: u32) -> u32;
    /// Adds to a home's reach, in one step.
    fn extend(&self, home: u32, reach: u32);
    /// Makes a free place a claimed one, in one step. False if it is not free.
    fn claim(&self, at: u32, claimed: u32) -> bool;
    /// Writes key and pin into a place that was claimed.
    fn write(&self, at: u32, key: Self::Key, pin: &Pin);
    /// Writes a pin anew: what others read at once, in one store.
    fn renew(&self, at: u32, pin: &Pin);
    /// Publishes a place, after all that was written before.
    fn publish(&self, at: u32, mark: u32);
    /// True if the pin is among those that found no place.
    fn is_more(&self, key: Self::Key) -> bool;
    /// Puts a pin among those that found no place. False if there is no room.
    fn insert_more(&self, key: Self::Key, pin: &Pin) -> bool;
    /// Runs [`find_behind`] with these places. How it is called is for the side that has them: on BPF it is a subprogram.
    fn find_behind(&self, sought: Sought, key: Self::Key) -> Found;
}

/// Where a pin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// In this place.
    Here(u32),
    /// Among those that found no place, if anywhere.
    More,
    /// Nowhere.
    Nowhere,
}

impl Found {
    const MORE: u32 = u32::MAX;
    const NOWHERE: u32 = u32::MAX - 1;

    /// What goes through a register.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        match self {
            Self::Here(at) => at,
            Self::More => Self::MORE,
            Self::Nowhere => Self::NOWHERE,
        }
    }

    /// What [`Found::to_bits`] made a number of.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        match bits {
            Self::MORE => Self::More,
            Self::NOWHERE => Self::Nowhere,
            at => Self::Here(at),
        }
    }
}

#[inline(always)]
fn is_here<P: Places>(at: u32, sought: Sought, key: P::Key, places: &P) -> bool {
    places.mark(at) == sought.mark && places.is_of(at, key)
}

/// Looks for a pin. Nearly all stand at their homes.
#[inline(always)]
pub fn find<P: Places>(sought: Sought, key: P::Key, places: &P) -> Found {
    if is_here(sought.home, sought, key, places) { Found::Here(sought.home) } else { places.find_behind(sought, key) }
}

/// Looks for a pin that does not stand at its home.
#[inline(always)]
pub fn find_behind<P: Places>(sought: Sought, key: P::Key, places: &P) -> Found {
    let reach = places.reach(sought.home);
    for probe in 1..MOST_PROBES {
        let at = behind(sought.home, probe);
        if reach & 1 << probe != 0 && is_here(at, sought, key, places) {
            return Found::Here(at);
        }
    }
    if leads_to_more(reach) { Found::More } else { Found::Nowhere }
}

/// Puts a pin in, in place of the one that the flow may have. False if there is no room.
#[inline(always)]
pub fn insert<P: Places>(sought: Sought, key: P::Key, pin: &Pin, places: &P) -> bool {
    let reach = places.reach(sought.home);
    let mut free = MOST_PROBES;
    for probe in 0..MOST_PROBES {
        let at = behind(sought.home, probe);
        let mark = places.mark(at);
        if mark == sought.mark && places.is_of(at, key) {
            places.renew(at, pin);
            // If it was withdrawn before that, the pin is as if it had not been written.
            if places.mark(at) == sought.mark {
                return true;
            }
        }
        if mark == FREE && probe < free {
            free = probe;
        }
        // None of this home stands behind this place.
        if free < MOST_PROBES && (reach & !MORE) >> probe < 2 {
            break;
        }
    }
    // It stays where it is.
    if leads_to_more(reach) && places.is_more(key) {
        return places.insert_more(key, pin);
    }
    for probe in free..MOST_PROBES {
        let at = behind(sought.home, probe);
        if places.claim(at, CLAIMED) {
            places.write(at, key, pin);
            // Before it is there, so that whoever looks for it later looks there.
            places.extend(sought.home, 1 << probe);
            places.publish(at, sought.mark);
            return true;
        }
    }
    places.extend(sought.home, MORE);
    places.insert_more(key, pin)
}

#[cfg(test)]
mod tests;
