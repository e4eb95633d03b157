//! Step 5, rewrite: the Ethernet addresses and the VLAN tag, and nothing else.

use core::mem::offset_of;

use lb_common::address::RaisedMac;
use network_types::eth::{EthHdr, EtherType};

use crate::packet::{Packet, View};
use crate::parse::Headers;
use crate::select::Chosen;
use crate::tables::Tables;

/// The number of a VLAN, of the 16 bits of a tag; the others are its priority.
const VLAN_ID: u16 = 0x0fff;
/// Length of a tag.
const TAG: usize = 4;
/// Where the first tag begins.
const FIRST_TAG: usize = offset_of!(EthHdr, ether_type);

/// Addresses the frame to the backend, from us and in the VLAN that it stands in. False if there is no room before the packet for
/// a tag.
#[inline(always)]
#[must_use]
pub fn run<T: Tables>(packet: &mut Packet<'_>, headers: &Headers, chosen: &Chosen, tables: &T) -> bool {
    if headers.tag != 0 || chosen.segment.vlan != 0 {
        return tables.retag(packet, headers, chosen);
    }
    addresses(packet, chosen)
}

/// Addresses the frame to the backend, from us, in the VLAN that it came in. False if it is no Ethernet frame, which none is that
/// gets so far.
#[inline(always)]
#[must_use]
pub fn addresses(packet: &Packet<'_>, chosen: &Chosen) -> bool {
    let Some(ethernet) = packet.view::<{ EthHdr::LEN }>(0) else {
        return false;
    };
    address(&ethernet, chosen);
    true
}

/// The same for a backend on the segment that the frame came in from: its MAC is a word, and ours the one that the frame was for.
#[inline(always)]
#[must_use]
pub fn at_home(packet: &Packet<'_>, to: u64, own: RaisedMac) -> bool {
    let Some(ethernet) = packet.view::<{ EthHdr::LEN }>(0) else {
        return false;
    };
    ethernet.set_macs::<{ offset_of!(EthHdr, dst_addr) }>(to, own);
    true
}

#[inline(always)]
fn address<const N: usize>(ethernet: &View<'_, N>, chosen: &Chosen) {
    ethernet.set_mac::<{ offset_of!(EthHdr, dst_addr) }>(chosen.backend.mac());
    ethernet.set_mac::<{ offset_of!(EthHdr, src_addr) }>(chosen.segment.mac);
}

/// Addresses the frame, and sets, adds or takes the tag. An outer tag stays, and so does the priority in a tag that is set.
/// False if there is no room before the packet for a tag.
#[inline(always)]
#[must_use]
pub fn retag(packet: &mut Packet<'_>, headers: &Headers, chosen: &Chosen) -> bool {
    let Some(ethernet) = packet.view::<{ EthHdr::LEN + 2 }>(0) else {
        return false;
    };
    let outer = ethernet.wire32::<FIRST_TAG>();
    let wanted = chosen.segment.vlan;
    if headers.tag == 0 {
        if !packet.grow(TAG) {
            return false;
        }
        let has_outer = headers.network != EthHdr::LEN;
        return write_tags(packet, chosen, has_outer.then_some(outer), wanted);
    }
    let Some(tag) = packet.view::<2>(headers.tag) else {
        return false;
    };
    let bits = tag.u16::<0>();
    if bits & VLAN_ID != wanted && wanted == 0 {
        let has_outer = headers.tag != EthHdr::LEN;
        return packet.shrink(TAG) && write_tags(packet, chosen, has_outer.then_some(outer), 0);
    }
    tag.set_wire16::<0>((bits & !VLAN_ID | wanted).to_be());
    address(&ethernet, chosen);
    true
}

/// Writes the addresses, then the outer tag if there is one, then that of a VLAN if it has a number.
#[inline(always)]
fn write_tags(packet: &Packet<'_>, chosen: &Chosen, outer: Option<u32>, vlan: u16) -> bool {
    let Some(ethernet) = packet.view::<{ EthHdr::LEN + 2 + TAG }>(0) else {
        return false;
    };
    address(&ethernet, chosen);
    let tag = u32::from(EtherType::Ieee8021q as u16) | u32::from(vlan.to_be()) << 16;
    match (outer, vlan) {
        (None, 0) => {}
        (None, _) => ethernet.set_wire32::<FIRST_TAG>(tag),
        (Some(outer), 0) => ethernet.set_wire32::<FIRST_TAG>(outer),
        (Some(outer), _) => {
            ethernet.set_wire32::<FIRST_TAG>(outer);
            ethernet.set_wire32::<{ FIRST_TAG + TAG }>(tag);
        }
    }
    true
}
