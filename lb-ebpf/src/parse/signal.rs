//! What a packet says of its flow's life. Read only for packets whose slot is not steady.

use core::mem::offset_of;

use lb_common::protocol;
use lb_common::track::signal::Signal;
use network_types::sctp::SctpHdr;
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use super::Headers;
use crate::packet::Packet;

/// Where the flags stand in a TCP header (RFC 9293 section 3.1).
const TCP_FLAGS: usize = 13;
const _: () = assert!(offset_of!(TcpHdr, window) == TCP_FLAGS + 1);

/// What the packet says; nothing if it is too short to.
#[inline(always)]
#[must_use]
pub fn signal(packet: &Packet<'_>, headers: &Headers) -> Signal {
    if headers.related {
        return Signal::RELATED;
    }
    match headers.flow.protocol {
        protocol::TCP => packet
            .view::<{ TCP_FLAGS + 1 }>(headers.transport)
            .map_or(Signal::NONE, |header| Signal::of_tcp(header.u8::<TCP_FLAGS>())),
        protocol::SCTP => packet
            .view::<{ SctpHdr::LEN + 1 }>(headers.transport)
            .map_or(Signal::NONE, |packet| Signal::of_sctp(packet.u8::<{ SctpHdr::LEN }>())),
        protocol::UDP => packet.view::<{ UdpHdr::LEN + 5 }>(headers.transport).map_or(Signal::NONE, |datagram| {
            let length = usize::from(datagram.u16::<{ offset_of!(UdpHdr, len) }>());
            let version = u32::from_be(datagram.wire32::<{ UdpHdr::LEN + 1 }>());
            Signal::of_udp(datagram.u8::<{ UdpHdr::LEN }>(), version, length.saturating_sub(UdpHdr::LEN))
        }),
        _ => Signal::NONE,
    }
}
