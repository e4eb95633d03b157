//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, neighbour solicitations, and errors, which belong to the flow that they
//! tell of.

use core::mem::offset_of;

use lb_common::address::{Address, Port};
use lb_common::flow::Flow;
use lb_common::outcome::Outcome;
use lb_common::protocol;
use network_types::icmp::{Icmpv4Hdr, Icmpv6Hdr};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::transport::{PORTS, has_ports};
use super::{Headers, Kind, extensions, ipv4, ipv6};
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

/// True if the ICMPv6 message at `transport` is a neighbour solicitation.
#[inline(always)]
pub(super) fn is_solicitation(packet: &Packet<'_>, transport: usize) -> bool {
    packet.view::<HEADER>(transport).is_some_and(|header| header.u8::<0>() == V6_NEIGHBOUR_SOLICITATION)
}

/// Says what an ICMP packet with `payload` bytes above IP is.
#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, payload: usize, fragment: bool, headers: &mut Headers) {
    let Some(header) = packet.view::<HEADER>(headers.transport).filter(|_| payload >= HEADER) else {
        return headers.flowless(Outcome::Malformed);
    };
    let kind = header.u8::<{ offset_of!(Icmpv4Hdr, type_) }>();
    if headers.flow.protocol == protocol::ICMP {
        match kind {
            V4_ECHO_REQUEST => echo(fragment, headers),
            V4_UNREACHABLE | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM => error_v4(packet, headers),
            _ => headers.kind = Kind::Flow,
        }
    } else {
        match kind {
            V6_ECHO_REQUEST => echo(fragment, headers),
            V6_UNREACHABLE..=V6_PARAMETER_PROBLEM => error_v6(packet, headers),
            _ => headers.kind = Kind::Flow,
        }
    }
}

#[inline(always)]
fn echo(fragment: bool, headers: &mut Headers) {
    // Of a fragmented request the answer would have to be put together first.
    if fragment {
        return headers.flowless(Outcome::Fragment);
    }
    headers.kind = Kind::Echo;
}

/// An error that quotes an IPv4 packet.
#[inline(always)]
fn error_v4(packet: &Packet<'_>, headers: &mut Headers) {
    let at = headers.transport + HEADER;
    let Some(header) = packet.view::<{ Ipv4Hdr::LEN }>(at) else {
        return headers.flowless(Outcome::Malformed);
    };
    let length = ipv4::length(&header);
    if length == 0 {
        return headers.flowless(Outcome::Malformed);
    }
    if ipv4::is_later_fragment(&header) {
        return headers.flowless(Outcome::Fragment);
    }
    let sender = header.ipv4::<{ offset_of!(Ipv4Hdr, src_addr) }>();
    let receiver = header.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>();
    let protocol = header.u8::<{ offset_of!(Ipv4Hdr, proto) }>();
    quoted(packet, at + length, protocol, sender, receiver, headers);
}

/// An error that quotes an IPv6 packet.
#[inline(always)]
fn error_v6(packet: &Packet<'_>, headers: &mut Headers) {
    let at = headers.transport + HEADER;
    let Some(header) = packet.view::<{ Ipv6Hdr::LEN }>(at) else {
        return headers.flowless(Outcome::Malformed);
    };
    if !ipv6::is_ipv6(&header) {
        return headers.flowless(Outcome::Malformed);
    }
    let next = header.u8::<{ offset_of!(Ipv6Hdr, next_hdr) }>();
    let upper = extensions::step_over(packet, at + Ipv6Hdr::LEN, next);
    if let Some(outcome) = upper.obstacle() {
        return headers.flowless(outcome);
    }
    let sender = header.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>();
    let receiver = header.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>();
    quoted(packet, upper.at, upper.protocol, sender, receiver, headers);
}

/// The flow of the quoted packet, turned round: as the client's packets to the VIP have it.
#[inline(always)]
fn quoted(packet: &Packet<'_>, at: usize, protocol: u8, sender: Address, receiver: Address, headers: &mut Headers) {
    // If the VIP did not send the quoted packet, there is no flow of ours behind the error: a packet like any other.
    if sender.0 == headers.flow.destination.0 {
        headers.flow = Flow::without_ports(receiver, sender, protocol);
        if has_ports(protocol) {
            // RFC 792 promises eight bytes above the quoted IP header; four of them are needed.
            let Some(ports) = packet.view::<PORTS>(at) else {
                return headers.flowless(Outcome::Malformed);
            };
            headers.flow.source_port = Port::from_wire(ports.wire16::<2>());
            headers.flow.destination_port = Port::from_wire(ports.wire16::<0>());
        }
    }
    headers.kind = Kind::Flow;
}
