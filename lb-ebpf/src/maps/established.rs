//! The pins of flows at work, in two tables: a first one whose memory is taken beforehand and lies close together, and another for
//! those that it has no room for.

use lb_common::track::pin::{Pin, PinKey};

use super::{PINS_ESTABLISHED, PINS_MORE, PINS_SPILT};

/// True if the first table of established pins ever was full, so that a pin may be in the other.
#[inline(always)]
fn are_spilt() -> bool {
    // SAFETY: the pointer is to the element; volatile because others write it, in one word.
    PINS_SPILT.get_ptr(0).is_some_and(|spilt| unsafe { spilt.read_volatile() } != 0)
}

/// The pin of a flow, in the table that it is in.
#[inline(always)]
pub(super) fn find(key: &PinKey) -> Option<*mut Pin> {
    match PINS_ESTABLISHED.get_ptr_mut(key) {
        None if are_spilt() => PINS_MORE.get_ptr_mut(key),
        first => first,
    }
}

/// Takes a flow's pin out. That it is gone already is what was wanted.
#[inline(always)]
pub(super) fn remove(key: &PinKey) {
    let _ = PINS_ESTABLISHED.remove(key);
    if are_spilt() {
        let _ = PINS_MORE.remove(key);
    }
}

/// Puts a pin into the first table of established pins, or, if it is full, into the other. It stays in the one that it is in.
/// Two CPUs that pin one flow at once, just when the first table fills, may leave one in each: then that of the first is followed,
/// and the other one's time runs out.
#[inline(always)]
pub(super) fn insert(key: &PinKey, pin: &Pin) -> bool {
    let is_in_more = are_spilt() && PINS_MORE.get_ptr(key).is_some();
    if !is_in_more && PINS_ESTABLISHED.insert(key, pin, 0).is_ok() {
        return true;
    }
    if let Some(spilt) = PINS_SPILT.get_ptr_mut(0) {
        // Before it is there, so that whoever looks for it later looks there.
        // SAFETY: as above; nobody writes anything else.
        unsafe { spilt.write_volatile(1) };
    }
    PINS_MORE.insert(key, pin, 0).is_ok()
}
