//! IPv6 (RFC 8200).

use core::mem::offset_of;

use lb_common::outcome::Outcome;
use lb_common::protocol;
use network_types::ip::Ipv6Hdr;

use super::extensions::{FRAGMENT_HEADER, Upper};
use super::{Headers, extensions, fragment, icmp, transport};
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
    // Neighbour discovery comes to a multicast MAC; no other packet for a VIP does.
    if next == protocol::ICMPV6 && icmp::is_discovery(packet, first, to_us) {
        headers.kind = super::Kind::Discovery;
        return;
    }
    if !to_us {
        return headers.foreign(Outcome::OtherHost);
    }

    headers.flow.source = header.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>();
    headers.flow.destination = header.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>();
    let upper = extensions::step_over(packet, first, next);
    // 0 is what Linux writes for a segmentation-offloaded packet of more than 64 kB ("BIG TCP"): all that is there.
    let told = usize::from(header.u16::<{ offset_of!(Ipv6Hdr, payload_len) }>());
    let there = headers.length.wrapping_sub(first);
    let total = if told == 0 { there } else { told };
    if total > there {
        return headers.flowless(Outcome::Malformed);
    }
    let stepped_over = upper.at - first;
    if upper.is_fragment() && !fragment(packet, first + total, &upper, headers) {
        return;
    }
    if let Some(outcome) = upper.obstacle() {
        return headers.flowless(if outcome as u32 == Outcome::Malformed as u32 {
            headers.cut_short()
        } else {
            outcome
        });
    }
    if total < stepped_over {
        return headers.flowless(headers.cut_short());
    }
    headers.flow.protocol = upper.protocol;
    headers.transport = upper.at;
    transport::run(packet, total - stepped_over, headers);
}

/// Reads the fragment header of a packet that ends at `end`. True for a first fragment that can be read on.
#[inline(always)]
fn fragment(packet: &Packet<'_>, end: usize, upper: &Upper, headers: &mut Headers) -> bool {
    let behind = upper.fragment_at + FRAGMENT_HEADER;
    let Some(header) = packet.view::<FRAGMENT_HEADER>(upper.fragment_at).filter(|_| end >= behind) else {
        headers.flowless(Outcome::Malformed);
        return false;
    };
    let bits = header.u16::<2>();
    let id = u32::from_be(header.wire32::<4>());
    fragment::run(id, bits >> 3, bits & 1 != 0, end - behind, header.u8::<0>(), headers)
}
