//! The short way: of the packets that nearly all are, once nothing is changing.
//!
//! Such a packet is plain and has no tag, and above IP at least as much as a TCP header; its listener stands at its home and asks
//! nothing of it; a glance tells its slot's backend, and that stands on the segment that the packet came in from. For any other packet
//! nothing is done here, and [`crate::pipeline`] takes it from the beginning: it goes the same steps, with all that may be between
//! them. Whatever comes to an end here would come to the same end there; a test holds the one against the other.
//!
//! It is a way of its own because of what is *not* on it: where the ways to the rarer ends branch off, what they need would have to be
//! kept in a register, or be put aside, by each packet.

use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::ListenerKey;
use lb_common::outcome::Outcome;

use crate::finish::Verdict;
use crate::packet::Packet;
use crate::parse::plain;
use crate::select::{self, Chosen};
use crate::tables::Tables;
use crate::{account, rewrite};

/// Sends a packet of IPv4, if it is such a one.
#[inline(always)]
#[must_use]
pub fn ipv4<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    let flow = plain::steady_ipv4(packet, tables.own_mac())?;
    forward(packet, &flow, tables)
}

/// Sends a packet of IPv6, if it is such a one.
#[inline(always)]
#[must_use]
pub fn ipv6<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    let flow = plain::steady_ipv6(packet, tables.own_mac())?;
    forward(packet, &flow, tables)
}

#[inline(always)]
fn forward<T: Tables>(packet: &mut Packet<'_>, flow: &Flow, tables: &T) -> Option<Verdict> {
    let listener = tables.listener_at_home(&ListenerKey::exact(flow))?;
    let slot = || listener.slots_base + hash::reduce(hash::flow(tables.hash_key(), flow), listener.slots_len);
    let backend = if listener.is_plain() {
        tables.glance_at_pair(slot())?
    } else if listener.is_plain_but_unpaired() {
        tables.glance(slot())?
    } else {
        return None;
    };
    let place = select::place(listener, backend)?;
    let mac = tables.backend(place)?.mac_on(tables.home())?;
    if !rewrite::at_home(packet, mac, tables.own_mac()) {
        return None;
    }
    let chosen = Chosen { listener: listener.id, place, ..Chosen::NONE };
    account::sent(&chosen, Outcome::Forwarded, packet.linear_length(), tables);
    Some(Verdict::TRANSMIT)
}
