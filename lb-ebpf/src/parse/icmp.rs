//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, neighbour solicitations, and errors, which belong to the flow that they
//! tell of.

use core::mem::offset_of;

use lb_common::outcome::Outcome;
use lb_common::protocol;
use network_types::icmp::{Icmpv4Hdr, Icmpv6Hdr};

use super::quoted::{self, End};
use super::{Headers, Kind};
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
            V4_UNREACHABLE | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM => error(packet, headers),
            _ => headers.kind = Kind::Flow,
        }
    } else {
        match kind {
            V6_ECHO_REQUEST => echo(fragment, headers),
            V6_UNREACHABLE..=V6_PARAMETER_PROBLEM => error(packet, headers),
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

/// An error: a packet of the flow that it tells of.
#[inline(always)]
fn error(packet: &Packet<'_>, headers: &mut Headers) {
    let at = headers.transport + HEADER;
    let v4 = headers.flow.destination.is_v4();
    let quoted = quoted::read(packet, at, headers.network, v4);
    match quoted.end {
        End::Malformed => return headers.flowless(Outcome::Malformed),
        End::LaterFragment => return headers.flowless(Outcome::Fragment),
        End::TooMany => return headers.flowless(Outcome::TooManyExtensions),
        // If the VIP did not send the quoted packet, there is no flow of ours behind the error: a packet like any other.
        End::AnothersPacket => {}
        End::Reached => {
            let Some(client) = quoted::receiver(packet, at, v4) else {
                return headers.flowless(Outcome::Malformed);
            };
            headers.related = true;
            headers.flow.source = client;
            headers.flow.protocol = quoted.protocol;
            headers.flow.source_port = quoted.client_port;
            headers.flow.destination_port = quoted.vip_port;
        }
    }
    headers.kind = Kind::Flow;
}
