//! The packets that nearly all are: to our MAC, with one VLAN tag at most, IPv4 without options or IPv6 without extension headers,
//! whole, and of a protocol with ports. They are read in one go, and what is known of them stays in registers.
//!
//! What is read here is read as the other files of this folder would: a packet that is refused here is only one to look at
//! again.

use core::mem::offset_of;

use lb_common::address::RaisedMac;
use lb_common::flow::Flow;
use lb_common::protocol::has_ports;
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::transport::header_length;
use super::{Headers, Kind, TAG, VLAN, ipv4};
use crate::packet::{Packet, View};

/// What each of these packets has above IP: the length of the shortest header with ports, UDP's.
const SHORTEST: usize = 8;
/// Of an IPv4 header's first eight bytes: version and length, and what tells a fragment.
const V4_SHAPE: u64 = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, FRAGMENT[0], FRAGMENT[1]]);
const FRAGMENT: [u8; 2] = ipv4::FRAGMENT.to_be_bytes();
/// IPv4 without options, not a fragment: the header is five words long.
const V4_PLAIN: u64 = 0x45;

/// Where such a packet's IP header begins without a tag, and with one.
const UNTAGGED: usize = EthHdr::LEN;
const TAGGED: usize = EthHdr::LEN + TAG;

/// What each of these packets has from the Ethernet header on, if it has no tag: the shortest are of IPv4, and [`ipv4`] need not look
/// whether it is there again.
pub type Frame<'a> = View<'a, { UNTAGGED + Ipv4Hdr::LEN + SHORTEST }>;

/// A frame to us; `None` for any other, and for one that is shorter.
#[inline(always)]
#[must_use]
pub fn frame<'a>(packet: &'a Packet<'_>, own: RaisedMac) -> Option<Frame<'a>> {
    packet.view(0).filter(|frame| is_for(frame, own))
}

/// What is above Ethernet in a frame.
#[inline(always)]
#[must_use]
pub fn kind(frame: &Frame<'_>) -> u16 {
    frame.wire16::<{ UNTAGGED - 2 }>()
}

/// What is above the tag in a frame to us that has one; `None` for any other frame.
#[inline(always)]
#[must_use]
pub fn tagged_kind(packet: &Packet<'_>, own: RaisedMac) -> Option<u16> {
    let ethernet = packet.view::<TAGGED>(0)?;
    let has_tag = is_for(&ethernet, own) && ethernet.wire16::<{ UNTAGGED - 2 }>() == VLAN;
    has_tag.then(|| ethernet.wire16::<{ TAGGED - 2 }>())
}

#[inline(always)]
fn is_for<const N: usize>(ethernet: &View<'_, N>, own: RaisedMac) -> bool {
    ethernet.has_mac::<{ offset_of!(EthHdr, dst_addr) }>(own)
}

/// The headers of such a packet of IPv4, with a tag or without; `None` for any other packet.
#[inline(always)]
#[must_use]
pub fn ipv4(packet: &Packet<'_>, has_tag: bool) -> Option<Headers> {
    let (network, tag) = places(has_tag);
    const PORTS: usize = Ipv4Hdr::LEN;
    let view = packet.view::<{ Ipv4Hdr::LEN + SHORTEST }>(network)?;
    if u64::from_le(view.wire64::<0>()) & V4_SHAPE != V4_PLAIN {
        return None;
    }
    let flow = Flow {
        source: view.ipv4::<{ offset_of!(Ipv4Hdr, src_addr) }>(),
        destination: view.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>(),
        ports: view.ports::<PORTS>(),
        protocol: view.u8::<{ offset_of!(Ipv4Hdr, proto) }>(),
    };
    let above = usize::from(view.u16::<{ offset_of!(Ipv4Hdr, tot_len) }>()).wrapping_sub(Ipv4Hdr::LEN);
    whole(packet, flow, above, Headers { tag, network, transport: network + Ipv4Hdr::LEN, ..Headers::NONE })
}

/// The same of IPv6.
#[inline(always)]
#[must_use]
pub fn ipv6(packet: &Packet<'_>, has_tag: bool) -> Option<Headers> {
    let (network, tag) = places(has_tag);
    const PORTS: usize = Ipv6Hdr::LEN;
    let view = packet.view::<{ Ipv6Hdr::LEN + SHORTEST }>(network)?;
    if view.u8::<{ offset_of!(Ipv6Hdr, vcf) }>() >> 4 != 6 {
        return None;
    }
    let flow = Flow {
        source: view.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>(),
        destination: view.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>(),
        ports: view.ports::<PORTS>(),
        protocol: view.u8::<{ offset_of!(Ipv6Hdr, next_hdr) }>(),
    };
    let above = usize::from(view.u16::<{ offset_of!(Ipv6Hdr, payload_len) }>());
    whole(packet, flow, above, Headers { tag, network, transport: network + Ipv6Hdr::LEN, ..Headers::NONE })
}

/// Where the IP header begins, and where the tag does.
#[inline(always)]
const fn places(has_tag: bool) -> (usize, usize) {
    if has_tag { (TAGGED, UNTAGGED) } else { (UNTAGGED, 0) }
}

/// The headers of a packet that says to have so many bytes `above` IP, if they are there and begin with ports.
#[inline(always)]
fn whole(packet: &Packet<'_>, flow: Flow, above: usize, headers: Headers) -> Option<Headers> {
    // Bytes behind the IP packet that are in another fragment of the frame are not counted: asking for them costs each packet
    // more than reading its headers, and no host sends them.
    let length = packet.linear_length();
    if !has_ports(flow.protocol)
        || above < header_length(flow.protocol)
        || above > length.wrapping_sub(headers.transport)
    {
        return None;
    }
    Some(Headers { kind: Kind::Flow, flow, length, ..headers })
}
