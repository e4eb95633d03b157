//! A slot of a pool's lookup table.

use bytemuck::{Pod, Zeroable};

use crate::limits::SLOTS_PER_LINE;

/// Index of a backend within its pool, as a slot holds it.
pub const NO_BACKEND: u16 = u16::MAX;

/// One entry of a lookup table: the backend that it has (`current`) and the one that it had (`previous`), by their
/// index in the pool, in one word that is written in one store.
///
/// Bits 0–15 are `current`, bits 16–31 `previous`. A slot is *steady* when the two are the same: its packets take
/// `current` and nothing is remembered of them.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Slot(pub u32);

impl Slot {
    /// A slot that has no backend.
    pub const EMPTY: Self = Self::steady(NO_BACKEND);

    /// A slot whose backend is not changing.
    #[inline(always)]
    #[must_use]
    pub const fn steady(backend: u16) -> Self {
        Self((backend as u32) << 16 | backend as u32)
    }

    /// The backend that new flows take; [`NO_BACKEND`] if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u16 {
        self.0 as u16
    }

    /// The backend that the slot had before; the same as `current` in a steady slot.
    #[inline(always)]
    #[must_use]
    pub const fn previous(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// The slots that share one element of the slots' map: one cache line.
///
/// The kernel rounds an array's elements up to 8 bytes, so single slots would take twice their size.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SlotLine(pub [Slot; SLOTS_PER_LINE]);

const _: () = assert!(core::mem::size_of::<SlotLine>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_slot_has_one_backend() {
        let slot = Slot::steady(7);
        assert_eq!((slot.current(), slot.previous()), (7, 7));
        assert_eq!(Slot::EMPTY.current(), NO_BACKEND);
    }
}
