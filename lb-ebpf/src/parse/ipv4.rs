//! IPv4 (RFC 791), with options.

use core::mem::offset_of;

use lb_common::outcome::Outcome;
use network_types::ip::Ipv4Hdr;

use super::{Headers, fragment, transport};
use crate::packet::{Packet, View};

/// "More fragments", of the 16 bits of flags and fragment offset.
const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset, of the same 16 bits.
pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;
/// What of the same 16 bits is not zero in a fragment.
pub(super) const FRAGMENT: u16 = MORE_FRAGMENTS | FRAGMENT_OFFSET;

/// The fixed part of an IPv4 header.
pub(super) type Header<'a> = View<'a, { Ipv4Hdr::LEN }>;

/// Length of the header, options included, in bytes: 20–60; 0 for one that is no IPv4 header.
#[inline(always)]
pub(super) fn length(header: &Header<'_>) -> usize {
    let version_and_words = header.u8::<{ offset_of!(Ipv4Hdr, vihl) }>();
    let length = usize::from(version_and_words & 0x0f) * 4;
    if version_and_words >> 4 == 4 && length >= Ipv4Hdr::LEN { length } else { 0 }
}

/// True if those 16 bits are a fragment's.
#[inline(always)]
pub(super) const fn is_fragment(bits: u16) -> bool {
    bits & FRAGMENT != 0
}

#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, headers: &mut Headers) {
    let Some(header) = packet.view::<{ Ipv4Hdr::LEN }>(headers.network) else {
        return headers.foreign(Outcome::NotIp);
    };
    let length = length(&header);
    if length == 0 {
        return headers.foreign(Outcome::NotIp);
    }
    headers.flow.source = header.ipv4::<{ offset_of!(Ipv4Hdr, src_addr) }>();
    headers.flow.destination = header.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>();
    headers.flow.protocol = header.u8::<{ offset_of!(Ipv4Hdr, proto) }>();
    // 0 is what Linux writes for a segmentation-offloaded packet of more than 64 kB ("BIG TCP"): all that is there.
    let told = usize::from(header.u16::<{ offset_of!(Ipv4Hdr, tot_len) }>());
    let there = headers.length.wrapping_sub(headers.network);
    let total = if told == 0 { there } else { told };
    if total > there || total < length {
        return headers.flowless(Outcome::Malformed);
    }
    headers.transport = headers.network + length;
    let bits = header.u16::<{ offset_of!(Ipv4Hdr, frags) }>();
    if is_fragment(bits) {
        let id = u32::from(header.u16::<{ offset_of!(Ipv4Hdr, id) }>());
        let (from, more) = (bits & FRAGMENT_OFFSET, bits & MORE_FRAGMENTS != 0);
        if !fragment::run(id, from, more, total - length, headers.flow.protocol, headers) {
            return;
        }
    }
    transport::run(packet, total - length, headers);
}
