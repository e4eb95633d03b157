//! The packet that an ICMP error quotes: one that the VIP, that is a backend, sent to a client. The error belongs to the
//! flow of that packet.
//!
//! On BPF it is read in a subprogram of its own, as extension headers are: few packets come here, and the way of most need
//! not carry what it takes.

use core::mem::offset_of;

use lb_common::address::Address;
use lb_common::outcome::Outcome;
use lb_common::protocol::has_ports;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::fragment::{Fragment, Part};
use super::transport::PORTS;
use super::{Headers, Kind, extensions, ipv4, ipv6};
use crate::packet::Packet;

/// Reads the packet quoted at `at`, in an error whose own headers are read.
#[inline(always)]
pub(super) fn run(packet: &Packet<'_>, at: usize, headers: &mut Headers) {
    #[cfg(target_arch = "bpf")]
    subprogram::call(packet, at, headers);
    #[cfg(not(target_arch = "bpf"))]
    read(packet, at, headers);
}

#[inline(always)]
fn read(packet: &Packet<'_>, at: usize, headers: &mut Headers) {
    // What could be read of it decides; until then it is cut short.
    headers.flowless(Outcome::Malformed);
    if headers.flow.destination.is_v4() { read_v4(packet, at, headers) } else { read_v6(packet, at, headers) }
}

#[inline(always)]
fn read_v4(packet: &Packet<'_>, at: usize, headers: &mut Headers) {
    let Some(header) = packet.view::<{ Ipv4Hdr::LEN }>(at) else {
        return;
    };
    let length = ipv4::length(&header);
    if length == 0 {
        return;
    }
    let sender = header.ipv4::<{ offset_of!(Ipv4Hdr, src_addr) }>();
    if sender.0 != headers.flow.destination.0 {
        return anothers(headers);
    }
    let client = header.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>();
    tells_of(&client, header.u8::<{ offset_of!(Ipv4Hdr, proto) }>(), headers);
    let bits = header.u16::<{ offset_of!(Ipv4Hdr, frags) }>();
    if ipv4::is_fragment(bits) {
        let id = u32::from(header.u16::<{ offset_of!(Ipv4Hdr, id) }>());
        if fragment(id, bits & ipv4::FRAGMENT_OFFSET == 0, headers) {
            return;
        }
    }
    ports(packet, at + length, headers);
}

#[inline(always)]
fn read_v6(packet: &Packet<'_>, at: usize, headers: &mut Headers) {
    let Some(header) = packet.view::<{ Ipv6Hdr::LEN }>(at) else {
        return;
    };
    if !ipv6::is_ipv6(&header) {
        return;
    }
    let sender = header.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>();
    if sender.0 != headers.flow.destination.0 {
        return anothers(headers);
    }
    let client = header.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>();
    let next = header.u8::<{ offset_of!(Ipv6Hdr, next_hdr) }>();
    let upper = extensions::step_over(packet, at + Ipv6Hdr::LEN, next);
    tells_of(&client, upper.protocol, headers);
    if upper.is_fragment() {
        let Some(header) = packet.view::<{ extensions::FRAGMENT_HEADER }>(upper.fragment_at) else {
            return;
        };
        let first = header.u16::<2>() & extensions::FRAGMENT_OFFSET == 0;
        if fragment(u32::from_be(header.wire32::<4>()), first, headers) {
            return;
        }
    }
    if let Some(outcome) = upper.obstacle() {
        return headers.flowless(outcome);
    }
    ports(packet, upper.at, headers);
}

/// If the VIP did not send the quoted packet, there is no flow of ours behind the error: a packet like any other.
#[inline(always)]
fn anothers(headers: &mut Headers) {
    headers.kind = Kind::Flow;
}

/// The error tells of a flow of this client.
#[inline(always)]
fn tells_of(client: &Address, protocol: u8, headers: &mut Headers) {
    headers.related = true;
    headers.flow.source = *client;
    headers.flow.protocol = protocol;
}

/// Notes that the quoted packet was a fragment. True for a later one, which has no ports: nothing can be read on.
#[inline(always)]
fn fragment(id: u32, first: bool, headers: &mut Headers) -> bool {
    let part = if first { Part::First } else { Part::Later };
    headers.fragment = Fragment { part, id, from: 0, to: 0 };
    if !first {
        headers.kind = Kind::LaterFragment;
    }
    !first
}

/// Reads the ports of the quoted packet, those of the flow in the other direction.
#[inline(always)]
fn ports(packet: &Packet<'_>, at: usize, headers: &mut Headers) {
    if has_ports(headers.flow.protocol) {
        // RFC 792 promises eight bytes above the quoted IP header; four of them are needed.
        let Some(ports) = packet.view::<PORTS>(at) else {
            return;
        };
        headers.flow.ports = ports.ports::<0>().swapped();
    }
    headers.kind = Kind::Flow;
}

/// The reading as a subprogram.
#[cfg(target_arch = "bpf")]
mod subprogram {
    use aya_ebpf::bindings::xdp_md;

    use super::{Headers, Packet, read};
    use crate::packet::offset;

    /// # Safety
    /// `context` must be what the kernel handed to the program that runs, and `headers` valid.
    #[unsafe(no_mangle)]
    #[inline(never)]
    unsafe extern "C" fn read_quoted(context: *mut xdp_md, at: u64, headers: *mut Headers) -> u32 {
        // SAFETY: the caller's promise.
        let (packet, headers) = unsafe { (Packet::from_context(context), headers.as_mut()) };
        if let Some(headers) = headers {
            read(&packet, offset(at), headers);
        }
        0
    }

    #[inline(always)]
    pub(super) fn call(packet: &Packet<'_>, at: usize, headers: &mut Headers) {
        // SAFETY: the packet was made of the context of the program that runs.
        unsafe { read_quoted(packet.context(), at as u64, headers) };
    }
}
