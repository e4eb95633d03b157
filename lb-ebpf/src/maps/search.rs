//! The search for a listener or a VIP in the tables of our own ([`lb_common::table`]).

use core::ptr::addr_of;

use lb_common::address::Address;
use lb_common::listener::{ListenerKey, Vip};
use lb_common::table::{self, ListenerEntry, VipEntry};

use super::instructions::unknown;
use super::{listeners, vips};
use crate::{left_out, subprograms};

/// What an entry of a table is looked for by.
#[derive(Clone, Copy)]
pub(crate) struct Sought {
    /// Where the search begins.
    pub(crate) home: u32,
    /// The mark.
    pub(crate) mark: u64,
    /// The address.
    pub(crate) halves: [u64; 2],
}

/// What a search returns that found nothing: no place of a table.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The mark of a listener's entry and, read after it, its address.
#[inline(always)]
unsafe fn listener_key(entry: *const ListenerEntry) -> (u64, [u64; 2]) {
    // SAFETY: the caller's pointer is to an element; volatile because the agent publishes and withdraws entries meanwhile.
    unsafe { (addr_of!((*entry).mark).read_volatile(), addr_of!((*entry).vip).cast::<[u64; 2]>().read()) }
}

/// The same of a VIP's entry.
#[inline(always)]
unsafe fn vip_key(entry: *const VipEntry) -> (u64, [u64; 2]) {
    // SAFETY: as above.
    unsafe { (addr_of!((*entry).mark).read_volatile(), addr_of!((*entry).address).cast::<[u64; 2]>().read()) }
}

/// The entry that is sought, if it stands at its home, as nearly all do; else the mark of what stands there.
#[inline(always)]
fn at_home<E>(
    entries: *const E,
    sought: Sought,
    read: unsafe fn(*const E) -> (u64, [u64; 2]),
) -> Result<*const E, u64> {
    let entry = at(entries, sought.home);
    // SAFETY: the pointer is to an entry.
    let (mark, halves) = unsafe { read(entry) };
    let is_it = mark == sought.mark && (table::tells_all(sought.mark) || halves == sought.halves);
    if left_out::MATCH || is_it { Ok(entry) } else { Err(mark) }
}

/// The entry that is sought, wherever it stands. `behind` is for those that are not at home: a subprogram, so that the way of most
/// packets has no loop, which the verifier would have to go through as often as it is there.
#[inline(always)]
fn find<E>(
    entries: *const E,
    sought: Sought,
    read: unsafe fn(*const E) -> (u64, [u64; 2]),
    behind: extern "C" fn(u32, u64, u64, u64) -> u32,
) -> Option<*const E> {
    match at_home(entries, sought, read) {
        Ok(entry) => return Some(entry),
        Err(table::FREE) => return None,
        Err(_) => {}
    }
    let place = unknown(behind(sought.home, sought.mark, sought.halves[0], sought.halves[1]).into()) as u32;
    // Nothing is known of this address: else the compiler would work out that of most packets' entry once more, here and there in
    // one.
    if place == NOWHERE { None } else { Some(unknown(at(entries, place) as u64) as *const E) }
}

/// The entry at a place of a table.
#[inline(always)]
fn at<E>(entries: *const E, place: u32) -> *const E {
    // SAFETY: the masked place is below PLACES, the length of each table.
    unsafe { entries.add((place & (table::PLACES - 1)) as usize) }
}

/// The place of the entry that is sought, of those behind its home.
#[inline(always)]
fn place_behind<E>(entries: *const E, sought: Sought, read: unsafe fn(*const E) -> (u64, [u64; 2])) -> u32 {
    let mut place = sought.home;
    for _ in 1..table::MOST_PROBES {
        place = table::place(place, 1);
        // SAFETY: the pointer is to an entry.
        let (mark, halves) = unsafe { read(at(entries, place)) };
        if mark == sought.mark && halves == sought.halves {
            return place;
        }
        if mark == table::FREE {
            break;
        }
    }
    NOWHERE
}

/// The entry of the listener with that key.
#[inline(always)]
pub(crate) fn listener(key: &ListenerKey) -> Option<*const ListenerEntry> {
    find(listeners(), of_listener(key, key.mark()), listener_key, subprograms::listener_behind)
}

/// The same for a key of one protocol, if it stands at its home.
#[inline(always)]
pub(crate) fn listener_at_home(key: &ListenerKey) -> Option<*const ListenerEntry> {
    at_home(listeners(), of_listener(key, key.exact_mark()), listener_key).ok()
}

/// What the listener with that key is looked for by, whose mark is known.
#[inline(always)]
fn of_listener(key: &ListenerKey, mark: u64) -> Sought {
    let home = if left_out::MATCH { left_out::LISTENER.home() } else { key.home() };
    Sought { home, mark, halves: key.vip.halves() }
}

/// The entry of the VIP with that address.
#[inline(always)]
pub(crate) fn vip(address: &Address) -> Option<*const VipEntry> {
    let sought = Sought { home: Vip::home(address), mark: Vip::mark(address), halves: address.halves() };
    find(vips(), sought, vip_key, subprograms::vip_behind)
}

/// The place of a listener's entry behind its home.
#[inline(always)]
pub(crate) fn listener_behind(sought: Sought) -> u32 {
    place_behind(listeners(), sought, listener_key)
}

/// The place of a VIP's entry behind its home.
#[inline(always)]
pub(crate) fn vip_behind(sought: Sought) -> u32 {
    place_behind(vips(), sought, vip_key)
}
