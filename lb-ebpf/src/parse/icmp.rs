//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, neighbour solicitations, and errors, which belong to the flow that they
//! tell of.

use core::mem::offset_of;

use lb_common::protocol;
use network_types::icmp::{Icmpv4Hdr, Icmpv6Hdr};

use super::fragment::Part;
use super::{Headers, Kind, quoted};
use crate::packet::Packet;

/// Length of the fixed part of both ICMP headers; an error's packet begins behind it.
const HEADER: usize = 8;
const _: () = assert!(Icmpv4Hdr::LEN == HEADER && Icmpv6Hdr::LEN == HEADER);

// Types of ICMP.
const V4_UNREACHABLE: u8 = 3;
const V4_ECHO_REQUEST: u8 = 8;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_PARAMETER_PROBLEM: u8 = 12;
// Types of ICMPv6.
const V6_UNREACHABLE: u8 = 1;
const V6_PARAMETER_PROBLEM: u8 = 4;
const V6_ECHO_REQUEST: u8 = 128;
const V6_NEIGHBOUR_SOLICITATION: u8 = 135;
const V6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// True if the ICMPv6 message at `transport` is a neighbour solicitation, or an advertisement to all (`!to_us`), which is
/// how a host claims an address.
#[inline(always)]
pub(super) fn is_discovery(packet: &Packet<'_>, transport: usize, to_us: bool) -> bool {
    packet.view::<HEADER>(transport).is_some_and(|header| {
        let kind = header.u8::<0>();
        kind == V6_NEIGHBOUR_SOLICITATION || (kind == V6_NEIGHBOUR_ADVERTISEMENT && !to_us)
    })
}

/// Says what an ICMP packet with `payload` bytes above IP is.
#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, payload: usize, headers: &mut Headers) {
    let Some(header) = packet.view::<HEADER>(headers.transport).filter(|_| payload >= HEADER) else {
        return headers.flowless(headers.cut_short());
    };
    let kind = header.u8::<{ offset_of!(Icmpv4Hdr, type_) }>();
    let (echo, error) = if headers.flow.protocol == protocol::ICMP {
        (kind == V4_ECHO_REQUEST, matches!(kind, V4_UNREACHABLE | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM))
    } else {
        (kind == V6_ECHO_REQUEST, matches!(kind, V6_UNREACHABLE..=V6_PARAMETER_PROBLEM))
    };
    if headers.fragment.part as u32 != Part::Whole as u32 {
        // Who would answer an echo request has to put it together first; errors are never so long (RFC 1812 section 4.3.2.3,
        // RFC 4443 section 2.4).
        headers.kind = Kind::Flow;
    } else if error {
        quoted::run(packet, headers.transport + HEADER, headers);
    } else {
        headers.kind = if echo { Kind::Echo } else { Kind::Flow };
    }
}
