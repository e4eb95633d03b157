//! The headers above IP: ports, where a protocol has them.

use lb_common::address::Port;
use lb_common::outcome::Outcome;
use lb_common::protocol;

use super::{Headers, Kind, icmp};
use crate::packet::Packet;

/// Bytes at the beginning of TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260) headers that hold the two ports.
pub(super) const PORTS: usize = 4;

/// True for a protocol whose header begins with a source and a destination port.
#[inline(always)]
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
}

/// Says what a packet with `payload` bytes above IP is.
#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, payload: usize, fragment: bool, headers: &mut Headers) {
    if has_ports(headers.flow.protocol) {
        let Some(ports) = packet.view::<PORTS>(headers.transport).filter(|_| payload >= PORTS) else {
            return headers.flowless(Outcome::Malformed);
        };
        headers.flow.source_port = Port::from_wire(ports.wire16::<0>());
        headers.flow.destination_port = Port::from_wire(ports.wire16::<2>());
        headers.kind = Kind::Flow;
        return;
    }
    let icmp_of_its_family = if headers.flow.destination.is_v4() { protocol::ICMP } else { protocol::ICMPV6 };
    if headers.flow.protocol == icmp_of_its_family {
        return icmp::run(packet, payload, fragment, headers);
    }
    headers.kind = Kind::Flow;
}
