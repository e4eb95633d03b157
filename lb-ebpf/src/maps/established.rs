//! The pins of flows at work: a table of our own ([`lb_common::track::place`]), and a kernel's hash map for those that find no place
//! there.

use core::marker::PhantomData;

use lb_common::flow::Flow;
use lb_common::limits::PIN_PLACES;
use lb_common::track::pin::{Pin, Pinned};
use lb_common::track::place::{self, Found, PinPlace, Places, Sought};

use super::instructions::unknown;
use super::{PINS_MORE, instructions, pin_key, pin_places};
use crate::subprograms;

/// The places, as a packet sees them.
#[derive(Clone, Copy)]
struct Established<'a>(PhantomData<&'a Flow>);

/// A place.
#[inline(always)]
fn at(place: u32) -> *mut PinPlace {
    // SAFETY: the masked place is below PIN_PLACES.
    unsafe { pin_places().add((unknown(place.into()) & u64::from(PIN_PLACES - 1)) as usize) }
}

/// Writes a pin where others read it: two words, each in one store.
///
/// # Safety
/// The pointer must be to a pin in a map.
#[inline(always)]
unsafe fn write(to: *mut Pin, pin: &Pin) {
    let [first, last] = pin.words();
    // SAFETY: the caller's promise; a pin is two words, aligned to 8.
    unsafe {
        let words = to.cast::<[u64; 2]>();
        (&raw mut (*words)[1]).write_volatile(last);
        (&raw mut (*words)[0]).write_volatile(first);
    }
}

impl<'a> Places for Established<'a> {
    type Key = Pinned<'a>;

    #[inline(always)]
    fn mark(&self, place: u32) -> u32 {
        // SAFETY: the pointer is to a place; volatile because others write it, in one word.
        unsafe { (&raw const (*at(place)).mark).read_volatile() }
    }

    #[inline(always)]
    fn is_of(&self, place: u32, pinned: Pinned<'a>) -> bool {
        // SAFETY: the pointer is to a place, whose key is five words, aligned to 8. It may become another flow's meanwhile: that
        // one's pin has another check.
        let [a, b, c, d, e] = unsafe { (&raw const (*at(place)).key).cast::<[u64; 5]>().read() };
        // Word by word: arrays would be compared in memory.
        [a, b] == pinned.flow.source.halves() && [c, d] == pinned.flow.destination.halves() && e == pinned.rest()
    }

    #[inline(always)]
    fn reach(&self, home: u32) -> u32 {
        // SAFETY: as for a mark.
        unsafe { (&raw const (*at(home)).reach).read_volatile() }
    }

    #[inline(always)]
    fn extend(&self, home: u32, reach: u32) {
        // SAFETY: the pointer is to a place.
        unsafe { instructions::set_bits(&raw mut (*at(home)).reach, reach) };
    }

    #[inline(always)]
    fn claim(&self, place: u32, claimed: u32) -> bool {
        // SAFETY: the pointer is to a place.
        unsafe { instructions::swap_if(&raw mut (*at(place)).mark, place::FREE, claimed) }
    }

    #[inline(always)]
    fn write(&self, place: u32, pinned: Pinned<'a>, pin: &Pin) {
        // SAFETY: the pointer is to a place, whose key is five words, aligned to 8; nobody else writes there.
        unsafe {
            write(&raw mut (*at(place)).pin, pin);
            (&raw mut (*at(place)).key).cast::<[u64; 5]>().write(pinned.words());
        }
    }

    #[inline(always)]
    fn renew(&self, place: u32, pin: &Pin) {
        // SAFETY: the pointer is to a place.
        unsafe { write(&raw mut (*at(place)).pin, pin) };
    }

    #[inline(always)]
    fn publish(&self, place: u32, mark: u32) {
        // SAFETY: the pointer is to a place.
        unsafe { instructions::publish(&raw mut (*at(place)).mark, mark) };
    }

    #[inline(always)]
    fn is_more(&self, pinned: Pinned<'a>) -> bool {
        // SAFETY: nobody else reads the key.
        unsafe { pin_key(pinned) }.is_some_and(|key| PINS_MORE.get_ptr(key).is_some())
    }

    #[inline(always)]
    fn insert_more(&self, pinned: Pinned<'a>, pin: &Pin) -> bool {
        // SAFETY: nobody else reads the key.
        unsafe { pin_key(pinned) }.is_some_and(|key| PINS_MORE.insert(key, pin, 0).is_ok())
    }

    #[inline(always)]
    fn find_behind(&self, _: Sought, pinned: Pinned<'a>) -> Found {
        // SAFETY: the flow is valid while it runs.
        Found::from_bits(unsafe { subprograms::pin_behind(pinned.flow, pinned.hash, pinned.pool) })
    }
}

/// The pin of a flow, wherever it is.
#[inline(always)]
pub(super) fn find(pinned: Pinned<'_>) -> Option<*mut Pin> {
    match place::find(Sought::new(pinned.hash), pinned, &Established(PhantomData)) {
        // SAFETY: the pointer is to a place.
        Found::Here(place) => Some(unsafe { &raw mut (*at(place)).pin }),
        // SAFETY: nobody else reads the key.
        Found::More => unsafe { pin_key(pinned) }.and_then(|key| PINS_MORE.get_ptr_mut(key)),
        Found::Nowhere => None,
    }
}

/// Where a pin is that does not stand at its home.
#[inline(always)]
pub(crate) fn find_behind(pinned: Pinned<'_>) -> Found {
    place::find_behind(Sought::new(pinned.hash), pinned, &Established(PhantomData))
}

/// Puts a pin in, in place of the one that the flow may have. False if there is no room.
#[inline(always)]
pub(crate) fn insert(pinned: Pinned<'_>, pin: &Pin) -> bool {
    place::insert(Sought::new(pinned.hash), pinned, pin, &Established(PhantomData))
}
