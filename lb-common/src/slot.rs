//! A slot of a pool's lookup table.

use bytemuck::{Pod, Zeroable};

use crate::limits::{MAX_POOL_BACKENDS, SLOTS_PER_LINE};

/// The index that no backend of a pool has: "none".
pub const NO_BACKEND: u16 = u16::MAX;

/// In place of a slot's previous backend: the slot is settling. A value of its own, so that a settling slot that has no
/// backend (all are draining) is told from an empty one.
const SETTLING: u16 = u16::MAX - 1;

/// In place of a backend: the listener has as many flows as it may have.
pub const TOO_MANY_FLOWS: u16 = u16::MAX - 2;

const _: () = assert!(MAX_POOL_BACKENDS <= TOO_MANY_FLOWS as u32);

/// One entry of a lookup table: the backend that it has (`current`) and the one that it had (`previous`), by their
/// index in the pool, in one word that is written in one store.
///
/// Bits 0–15 are `current`, bits 16–31 `previous`. A slot is *steady* when the two are the same: its packets take
/// `current` and nothing is remembered of them. It is *moving* when they differ, and *settling* when a mark stands in
/// place of `previous`; [`crate::track`] says what that means.
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

    /// A slot that had `previous` and now has `current`. The two must differ, and `previous` must be a backend.
    #[inline(always)]
    #[must_use]
    pub const fn moving(previous: u16, current: u16) -> Self {
        Self((previous as u32) << 16 | current as u32)
    }

    /// A slot that has `current`, and may still have pinned flows of others.
    #[inline(always)]
    #[must_use]
    pub const fn settling(current: u16) -> Self {
        Self((SETTLING as u32) << 16 | current as u32)
    }

    /// True if the slot's backend is not changing.
    #[inline(always)]
    #[must_use]
    pub const fn is_steady(self) -> bool {
        self.previous() == self.current()
    }

    /// True if flows that began before the change may not have shown themselves yet.
    #[inline(always)]
    #[must_use]
    pub const fn is_moving(self) -> bool {
        !self.is_steady() && !self.is_settling()
    }

    /// True if only pinned flows are left of the time before the change.
    #[inline(always)]
    #[must_use]
    pub const fn is_settling(self) -> bool {
        self.previous() == SETTLING
    }

    /// The backend that new flows take; [`NO_BACKEND`] if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u16 {
        self.0 as u16
    }

    /// The backend that the slot had before; the same as `current` in a steady slot, and none in a settling one.
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

/// In a [`Glance`]: the slot itself says it.
const LOOK: u8 = u8::MAX;

/// What a glance at a slot tells: the backend of a steady one, in one byte, if its index in the pool is small enough. A table
/// of these is a quarter of the slots' own, so four times as many pools are in a CPU's cache; and nearly all packets need no more.
///
/// The slot is written first, then its glance: until then, packets find the slot as it was.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Glance(pub u8);

impl Glance {
    /// Places that a pool's region may have for its slots to be glanced at; in a larger one most slots would be looked at anyway.
    pub const MOST_PLACES: u32 = 256;

    /// What is told of a slot.
    #[inline(always)]
    #[must_use]
    pub const fn of(slot: Slot) -> Self {
        if slot.is_steady() && slot.current() < LOOK as u16 { Self(slot.current() as u8) } else { Self(LOOK) }
    }

    /// The backend of the slot, which is steady, if this tells it.
    #[inline(always)]
    #[must_use]
    pub const fn backend(self) -> Option<u16> {
        if self.0 == LOOK { None } else { Some(self.0 as u16) }
    }
}

/// Two glances at slots that follow each other, in half a byte each, for pools of few backends: a table of the default size is
/// 32 kB of these, which has room in a CPU's first cache.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct GlancePair(pub u8);

impl GlancePair {
    /// Places that a pool's region may have for its slots to be glanced at in pairs.
    pub const MOST_PLACES: u32 = 16;
    /// The slot itself says it.
    const LOOK: u8 = 0xf;

    /// Where a slot's half begins.
    const fn shift(index: u32) -> u32 {
        (index & 1) * 4
    }

    /// The pair when the slot with that index, of all slots, has become this one.
    #[must_use]
    pub const fn with(self, index: u32, slot: Slot) -> Self {
        let told =
            if slot.is_steady() && slot.current() < Self::LOOK as u16 { slot.current() as u8 } else { Self::LOOK };
        Self(self.0 & !(0xf << Self::shift(index)) | told << Self::shift(index))
    }

    /// The backend of the slot with that index, of all slots, which is steady, if this tells it.
    #[inline(always)]
    #[must_use]
    pub const fn backend(self, index: u32) -> Option<u16> {
        let told = (self.0 >> Self::shift(index)) & 0xf;
        if told == Self::LOOK { None } else { Some(told as u16) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_slot_has_one_backend() {
        let slot = Slot::steady(7);
        assert_eq!((slot.current(), slot.previous()), (7, 7));
        assert_eq!(Slot::EMPTY.current(), NO_BACKEND);
    }

    #[test]
    fn a_glance_tells_a_steady_slot_and_no_other() {
        for slot in [Slot::steady(0), Slot::steady(254)] {
            assert_eq!(Glance::of(slot).backend(), Some(slot.current()));
        }
        let others = [Slot::EMPTY, Slot::steady(255), Slot::steady(4_095), Slot::moving(1, 2), Slot::settling(1)];
        assert!(others.iter().all(|slot| Glance::of(*slot).backend().is_none()));
    }

    #[test]
    fn each_half_of_a_pair_tells_a_slot_of_its_own() {
        let pair = GlancePair(0).with(6, Slot::steady(14)).with(7, Slot::steady(3));
        assert_eq!((pair.backend(6), pair.backend(7)), (Some(14), Some(3)));
        for other in [Slot::EMPTY, Slot::steady(15), Slot::moving(1, 2), Slot::settling(1)] {
            let changed = pair.with(6, other);
            assert_eq!((changed.backend(6), changed.backend(7)), (None, Some(3)), "{other:?}");
        }
    }

    #[test]
    fn a_slot_is_in_one_state() {
        for (slot, steady, moving, settling) in [
            (Slot::EMPTY, true, false, false),
            (Slot::steady(0), true, false, false),
            (Slot::moving(1, 2), false, true, false),
            (Slot::moving(1, NO_BACKEND), false, true, false),
            (Slot::settling(3), false, false, true),
            (Slot::settling(NO_BACKEND), false, false, true),
        ] {
            assert_eq!(
                (slot.is_steady(), slot.is_moving(), slot.is_settling()),
                (steady, moving, settling),
                "{slot:?}"
            );
        }
    }
}
