//! The packets that nearly all are: to our MAC, with one VLAN tag at most, IPv4 without options or IPv6 without extension headers,
//! whole, and of a protocol with ports. They are read in one go, and what is known of them stays in registers.
//!
//! What is read here is read as the other files of this folder would: a packet that is refused here is only one to look at
//! again.

use core::mem::offset_of;

use lb_common::address::RaisedMac;
use lb_common::flow::Flow;
use lb_common::protocol::has_ports;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::transport::{LONGEST, header_length};
use super::{Headers, Kind, TAG, VLAN, ipv4};
use crate::packet::{Packet, View};

/// What is above Ethernet in these packets.
pub const IPV4: u16 = EtherType::Ipv4 as u16;
/// The same.
pub const IPV6: u16 = EtherType::Ipv6 as u16;

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
const FRAME: usize = UNTAGGED + Ipv4Hdr::LEN + SHORTEST;
/// The same of those that [`steady_ipv4`] and [`steady_ipv6`] read.
const STEADY_FRAME: usize = UNTAGGED + Ipv4Hdr::LEN + LONGEST;
const STEADY_FRAME6: usize = UNTAGGED + Ipv6Hdr::LEN + LONGEST;

/// The flow of such a packet of IPv4 without a tag, if the longest header with ports would be there above IP; `None` for any other
/// packet. Whether its protocol has ports is not asked: what is not for a protocol's listener has to be read again.
#[inline(always)]
#[must_use]
pub fn steady_ipv4(packet: &Packet<'_>, own: RaisedMac) -> Option<Flow> {
    frame::<STEADY_FRAME>(packet, own).filter(|frame| kind_of(frame) == IPV4)?;
    let (flow, above) = ipv4_flow(&packet.view::<{ Ipv4Hdr::LEN + LONGEST }>(UNTAGGED)?)?;
    is_there(packet, above, STEADY_FRAME).then_some(flow)
}

/// The same of IPv6.
#[inline(always)]
#[must_use]
pub fn steady_ipv6(packet: &Packet<'_>, own: RaisedMac) -> Option<Flow> {
    frame::<STEADY_FRAME6>(packet, own).filter(|frame| kind_of(frame) == IPV6)?;
    let (flow, above) = ipv6_flow(&packet.view::<{ Ipv6Hdr::LEN + LONGEST }>(UNTAGGED)?)?;
    is_there(packet, above, STEADY_FRAME6).then_some(flow)
}

/// True if a packet that says to have so many bytes `above` IP has them, and they are [`LONGEST`] at least: a frame with so many has
/// the length `frame`, and this one is not shorter. One comparison: with fewer above IP, the number is a huge one.
#[inline(always)]
fn is_there(packet: &Packet<'_>, above: usize, frame: usize) -> bool {
    above.wrapping_sub(LONGEST) <= packet.linear_length().wrapping_sub(frame)
}

/// What is above Ethernet in a frame to us without a tag; `None` for any other frame.
#[inline(always)]
#[must_use]
pub fn kind(packet: &Packet<'_>, own: RaisedMac) -> Option<u16> {
    Some(kind_of(&frame::<FRAME>(packet, own)?))
}

/// A frame to us with so many bytes.
#[inline(always)]
fn frame<'a, const N: usize>(packet: &'a Packet<'_>, own: RaisedMac) -> Option<View<'a, N>> {
    packet.view(0).filter(|frame| is_for(frame, own))
}

#[inline(always)]
fn kind_of<const N: usize>(frame: &View<'_, N>) -> u16 {
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
    let (flow, above) = ipv4_flow(&packet.view::<{ Ipv4Hdr::LEN + SHORTEST }>(network)?)?;
    whole(packet, flow, above, Headers { tag, network, transport: network + Ipv4Hdr::LEN, ..Headers::NONE })
}

/// The same of IPv6.
#[inline(always)]
#[must_use]
pub fn ipv6(packet: &Packet<'_>, has_tag: bool) -> Option<Headers> {
    let (network, tag) = places(has_tag);
    let (flow, above) = ipv6_flow(&packet.view::<{ Ipv6Hdr::LEN + SHORTEST }>(network)?)?;
    whole(packet, flow, above, Headers { tag, network, transport: network + Ipv6Hdr::LEN, ..Headers::NONE })
}

/// The flow of an IPv4 packet that is not a fragment and has no options, and how many bytes it says to have above IP.
#[inline(always)]
fn ipv4_flow<const N: usize>(view: &View<'_, N>) -> Option<(Flow, usize)> {
    if u64::from_le(view.wire64::<0>()) & V4_SHAPE != V4_PLAIN {
        return None;
    }
    let flow = Flow {
        source: view.ipv4::<{ offset_of!(Ipv4Hdr, src_addr) }>(),
        destination: view.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>(),
        ports: view.ports::<{ Ipv4Hdr::LEN }>(),
        protocol: view.u8::<{ offset_of!(Ipv4Hdr, proto) }>(),
    };
    Some((flow, usize::from(view.u16::<{ offset_of!(Ipv4Hdr, tot_len) }>()).wrapping_sub(Ipv4Hdr::LEN)))
}

/// The same of an IPv6 packet, if there are no extension headers.
#[inline(always)]
fn ipv6_flow<const N: usize>(view: &View<'_, N>) -> Option<(Flow, usize)> {
    if view.u8::<{ offset_of!(Ipv6Hdr, vcf) }>() >> 4 != 6 {
        return None;
    }
    let flow = Flow {
        source: view.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>(),
        destination: view.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>(),
        ports: view.ports::<{ Ipv6Hdr::LEN }>(),
        protocol: view.u8::<{ offset_of!(Ipv6Hdr, next_hdr) }>(),
    };
    Some((flow, usize::from(view.u16::<{ offset_of!(Ipv6Hdr, payload_len) }>())))
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
