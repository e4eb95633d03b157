//! IPv6 (RFC 8200).

use core::mem::offset_of;

use lb_common::outcome::Outcome;
use lb_common::protocol;
use network_types::ip::Ipv6Hdr;

use super::{Headers, extensions, icmp, transport};
use crate::packet::{Packet, View};

/// The fixed part of an IPv6 header.
pub(super) type Header<'a> = View<'a, { Ipv6Hdr::LEN }>;

/// True for a header that says that it is IPv6.
#[inline(always)]
pub(super) fn is_ipv6(header: &Header<'_>) -> bool {
    header.u8::<{ offset_of!(Ipv6Hdr, vcf) }>() >> 4 == 6
}

#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, to_us: bool, headers: &mut Headers) {
    let Some(header) = packet.view::<{ Ipv6Hdr::LEN }>(headers.network) else {
        return headers.foreign(Outcome::NotIp);
    };
    if !is_ipv6(&header) {
        return headers.foreign(Outcome::NotIp);
    }
    let first = headers.network + Ipv6Hdr::LEN;
    let next = header.u8::<{ offset_of!(Ipv6Hdr, next_hdr) }>();
    headers.transport = first;
    // Solicitations come to a multicast MAC; no other packet for a VIP does.
    if next == protocol::ICMPV6 && icmp::is_solicitation(packet, first) {
        headers.kind = super::Kind::Solicitation;
        return;
    }
    if !to_us {
        return headers.foreign(Outcome::OtherHost);
    }

    headers.flow.source = header.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>();
    headers.flow.destination = header.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>();
    let upper = extensions::step_over(packet, first, next);
    if let Some(outcome) = upper.obstacle() {
        return headers.flowless(outcome);
    }
    // 0 is what Linux writes for a segmentation-offloaded packet of more than 64 kB ("BIG TCP"): all that is there.
    let told = usize::from(header.u16::<{ offset_of!(Ipv6Hdr, payload_len) }>());
    let there = (headers.length as usize).wrapping_sub(first);
    let total = if told == 0 { there } else { told };
    let stepped_over = upper.at - first;
    if total > there || total < stepped_over {
        return headers.flowless(Outcome::Malformed);
    }
    headers.flow.protocol = upper.protocol;
    headers.transport = upper.at;
    transport::run(packet, total - stepped_over, upper.fragment, headers);
}
