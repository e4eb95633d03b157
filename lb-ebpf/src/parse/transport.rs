//! The headers above IP: ports, where a protocol has them.

use lb_common::protocol;
use network_types::sctp::SctpHdr;
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use super::{Headers, Kind, icmp};
use crate::packet::Packet;

/// Bytes at the beginning of TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260) headers that hold the two ports.
pub(super) const PORTS: usize = 4;

/// Length of the longest header above IP that has ports, without options: TCP's.
pub(super) const LONGEST: usize = TcpHdr::LEN;

/// Length of the header above IP that the first fragment of a datagram must hold (RFC 1858 section 4, RFC 7112), and a
/// packet that is whole, too; 0 for a protocol that nothing is read of.
#[inline(always)]
pub(super) const fn header_length(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => TcpHdr::LEN,
        protocol::UDP => UdpHdr::LEN,
        protocol::SCTP => SctpHdr::LEN,
        _ => 0,
    }
}

/// Says what a packet with `payload` bytes above IP is.
#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, payload: usize, headers: &mut Headers) {
    if protocol::has_ports(headers.flow.protocol) {
        let long_enough = payload >= header_length(headers.flow.protocol);
        let Some(ports) = packet.view::<PORTS>(headers.transport).filter(|_| long_enough) else {
            return headers.flowless(headers.cut_short());
        };
        headers.flow.ports = ports.ports::<0>();
        headers.kind = Kind::Flow;
        return;
    }
    let icmp_of_its_family = if headers.flow.destination.is_v4() { protocol::ICMP } else { protocol::ICMPV6 };
    if headers.flow.protocol == icmp_of_its_family {
        return icmp::run(packet, payload, headers);
    }
    headers.kind = Kind::Flow;
}
