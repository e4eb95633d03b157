//! The packet's side: the backend that it takes, and what is remembered of its flow.
//!
//! [`decide`] is the rule, [`follow`] asks the maps what the rule needs and does what it says. Where packets of one flow are
//! on several CPUs at once, or the agent is at work, the order in which [`follow`] goes to the maps is part of the rule:
//!
//! - A pin only ever moves from the young table to the established one, and is put in there before it is taken out here. A
//!   reader that looked in the established table too early, and in the young one too late, finds it in the established one.
//! - A flow is pinned before its packet goes out, so before its client can send the next.

use super::pin::{Moment, Pin, Table};
use super::signal::{self, Signal};
use crate::slot::{NO_BACKEND, Slot};

/// The maps, as a packet of one flow sees them. Each method is one access.
pub trait Memory {
    /// The flow's slot.
    fn slot(&self) -> Slot;
    /// The backend that a new flow takes. Asked at most once for a packet, and only for one that is not pinned.
    #[inline(always)]
    fn choose(&self, slot: Slot) -> u16 {
        slot.current()
    }
    /// True if packets may be sent to the backend with that index: it is up or draining. False for any index that is not a
    /// backend's.
    fn serves(&self, backend: u16) -> bool;
    /// The flow's pin in a table, as it was found; [`Pin::NONE`] if there is none. With `touch`, a pin that was not seen at
    /// `now` yet is marked, in place.
    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin;
    /// Puts the flow's pin into a table, in place of the one there may be. False if there is no room.
    fn insert(&self, table: Table, pin: &Pin) -> bool;
    /// Takes the flow's young pin out. The established ones are the agent's to take out.
    fn remove_young(&self);
    /// Counts a pin that there was no room for, and marks the tables as crowded.
    fn overflowed(&self);
    /// True from when a pin found no room, or the agent saw the tables fill, until the agent saw that there is room again.
    fn is_crowded(&self) -> bool;
    /// The time.
    fn now(&self) -> Moment;
}

/// A packet, as far as tracking cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Its flow's slot, by the index in the pool's table.
    pub slot: u32,
    /// The low half of the hash of its flow, the whole 5-tuple.
    pub check: u32,
    /// Its IP protocol.
    pub protocol: u8,
    /// What it says of its flow's life.
    pub signal: Signal,
}

/// What the rule goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The slot. Not a steady one.
    pub slot: Slot,
    /// Where the flow's pin was found.
    pub table: Option<Table>,
    /// The pin that was found.
    pub pin: Pin,
    /// The pin's backend serves.
    pub pinned_serves: bool,
    /// The slot's previous backend serves. False for a settling slot.
    pub previous_serves: bool,
    /// The tables are crowded.
    pub crowded: bool,
    /// The backend that a new flow takes, [`NO_BACKEND`] where that does not matter.
    pub current: u16,
    /// That backend serves.
    pub current_serves: bool,
}

/// What to write.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing.
    Nothing,
    /// The pin, into the young table.
    Young,
    /// The pin, into the established table.
    Established,
    /// The pin, into the established table; it leaves the young one.
    Promote,
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The backend that the packet takes; [`NO_BACKEND`] if none would have it.
    pub backend: u16,
    /// The state of the flow's pin, if one is written.
    pub state: u8,
    /// What to write.
    pub write: Write,
}

/// The rule for a packet in a slot that isn't steady.
///
/// - A pin whose backend serves is followed. The pin of a flow that was closing ends with the next first packet: that is
///   another flow with the same 5-tuple.
/// - In a settling slot, a pin to `current` is of no use any more. It is not written again: the sweep takes it away, and a
///   packet that promotes it meanwhile could take out the pin that the flow gets when the slot moves on.
/// - A flow whose pinned backend is gone takes `current`, and its pin is written anew: else the flow would jump back
///   when that backend recovers.
/// - A flow without a pin takes `previous` if the slot is moving and the packet is not a first one: it began before the
///   change. All others take `current`.
/// - While the tables are crowded, flows that begin in a moving slot begin at `previous`, without a pin, where a flow without
///   a pin goes. So what doesn't fit is put off, not broken, and a flood of first packets finds nothing to fill.
/// - A new pin goes into the young table if the packet could be its flow's first, so that no flood of such packets gets at
///   flows that are at work. From there it is promoted by the flow's next packet.
#[inline(always)]
#[must_use]
pub const fn decide(packet: &Packet, facts: &Facts) -> Decision {
    let first = packet.signal.has(Signal::FIRST);
    let state = Pin::state_after(facts.pin.state, packet.protocol, packet.signal);
    let begins_anew = first && facts.pin.state == Pin::CLOSING;
    if facts.pinned_serves && !begins_anew {
        let useless = facts.slot.is_settling() && facts.pin.backend == facts.slot.current();
        let write = match facts.table {
            _ if first || useless => Write::Nothing,
            Some(Table::Young) => Write::Promote,
            _ if facts.pin.state != state => Write::Established,
            _ => Write::Nothing,
        };
        return Decision { backend: facts.pin.backend, state, write };
    }

    let could_be_first = first || !signal::begins_with_a_signal(packet.protocol);
    let put_off = facts.crowded && could_be_first && facts.current_serves;
    let old = facts.table.is_none() && facts.previous_serves && (!first || put_off);
    let backend = if old {
        facts.slot.previous()
    } else if facts.current_serves {
        facts.current
    } else {
        return Decision { backend: NO_BACKEND, state, write: Write::Nothing };
    };
    let write = match facts.table {
        Some(Table::Young) if first => Write::Young,
        Some(Table::Young) => Write::Promote,
        Some(Table::Established) => Write::Established,
        None if facts.slot.is_settling() || (old && put_off) => Write::Nothing,
        None if could_be_first => Write::Young,
        None => Write::Established,
    };
    Decision { backend, state, write }
}

/// The backend that a packet takes, by its index in the pool; [`NO_BACKEND`] if none would have it. Whether the backend
/// of a steady slot serves is for the caller to see, who needs its address anyway.
#[inline(always)]
pub fn follow<M: Memory>(packet: &Packet, memory: &M) -> u16 {
    let slot = memory.slot();
    if slot.is_steady() {
        return slot.current();
    }
    let now = memory.now();
    let leaves_a_trace = !packet.signal.has(Signal::RELATED);
    let facts = gather(packet, slot, now, leaves_a_trace, memory);
    let decision = decide(packet, &facts);
    if leaves_a_trace {
        let pin = Pin {
            backend: decision.backend,
            state: decision.state,
            reserved: 0,
            check: packet.check,
            seen: now,
            slot: packet.slot,
        };
        write(decision.write, &pin, &facts.pin, memory);
    }
    decision.backend
}

/// Asks the maps, for no more than [`decide`] will look at.
#[inline(always)]
fn gather<M: Memory>(packet: &Packet, slot: Slot, now: Moment, touch: bool, memory: &M) -> Facts {
    let mut table = Some(Table::Established);
    let mut pin = look(packet, Table::Established, now, touch, memory);
    if pin.backend == NO_BACKEND {
        table = Some(Table::Young);
        pin = look(packet, Table::Young, now, touch, memory);
    }
    if pin.backend == NO_BACKEND {
        // It may have been promoted between the two looks.
        table = Some(Table::Established);
        pin = look(packet, Table::Established, now, touch, memory);
    }
    if pin.backend == NO_BACKEND {
        table = None;
    }

    let first = packet.signal.has(Signal::FIRST);
    let pinned_serves = table.is_some() && memory.serves(pin.backend);
    let unpinned = !pinned_serves || (first && pin.state == Pin::CLOSING);
    let begins_here = table.is_none() && slot.is_moving() && (first || !signal::begins_with_a_signal(packet.protocol));
    // The slot settles only when the mark has been off for long. So what counts is the slot after the mark was seen.
    let crowded = begins_here && memory.is_crowded() && memory.slot() == slot;
    let may_be_old = table.is_none() && slot.is_moving() && (!first || crowded);
    let previous_serves = may_be_old && memory.serves(slot.previous());
    let current = if unpinned && (crowded || !previous_serves) { memory.choose(slot) } else { NO_BACKEND };
    let current_serves = current != NO_BACKEND && memory.serves(current);
    Facts { slot, table, pin, pinned_serves, previous_serves, crowded, current, current_serves }
}

/// A look at a pin; one that was removed, and whose element is another flow's by now, is none.
#[inline(always)]
fn look<M: Memory>(packet: &Packet, table: Table, now: Moment, touch: bool, memory: &M) -> Pin {
    let pin = memory.look(table, now, touch);
    if pin.check == packet.check { pin } else { Pin::NONE }
}

#[inline(always)]
fn write<M: Memory>(write: Write, pin: &Pin, found: &Pin, memory: &M) {
    let stored = match write {
        Write::Nothing => true,
        Write::Young => memory.insert(Table::Young, pin),
        Write::Established => memory.insert(Table::Established, pin),
        Write::Promote => {
            let promoted = memory.insert(Table::Established, pin);
            if promoted {
                memory.remove_young();
            } else if found.backend != pin.backend || found.state != pin.state {
                // No room: it stays among the young, as the established one that it is.
                memory.insert(Table::Young, pin);
            }
            promoted
        }
    };
    if !stored {
        memory.overflowed();
    }
}

#[cfg(test)]
mod tests;
