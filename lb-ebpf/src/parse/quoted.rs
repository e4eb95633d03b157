//! The packet that an ICMP error quotes: one that the VIP, that is a backend, sent to a client.
//!
//! On BPF it is read in a subprogram of its own, as extension headers are: few packets come here, and the way of most need
//! not carry what it takes.

use core::mem::offset_of;

use lb_common::address::{Address, Port};
use lb_common::outcome::Outcome;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::transport::{PORTS, has_ports};
use super::{extensions, ipv4, ipv6};
use crate::packet::Packet;

/// What the quoted packet says of its flow.
#[derive(Clone, Copy)]
pub(super) struct Quoted {
    /// Its IP protocol.
    pub(super) protocol: u8,
    /// The port that it was sent to, if the protocol has ports.
    pub(super) client_port: Port,
    /// The port that it was sent from, if the protocol has ports.
    pub(super) vip_port: Port,
    /// How far it could be read.
    pub(super) end: End,
}

/// How far a quoted packet could be read.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Reached,
    Malformed,
    LaterFragment,
    TooMany,
    /// It was not sent by the host that the error is addressed to.
    AnothersPacket,
}

/// Whom the packet quoted at `at` was sent to.
#[inline(always)]
pub(super) fn receiver(packet: &Packet<'_>, at: usize, v4: bool) -> Option<Address> {
    if v4 {
        Some(packet.view::<{ Ipv4Hdr::LEN }>(at)?.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>())
    } else {
        Some(packet.view::<{ Ipv6Hdr::LEN }>(at)?.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>())
    }
}

/// Reads the packet quoted at `at`, in an error whose own IP header is at `network`.
#[inline(always)]
pub(super) fn read(packet: &Packet<'_>, at: usize, network: usize, v4: bool) -> Quoted {
    #[cfg(target_arch = "bpf")]
    return subprogram::call(packet, at, network, v4);
    #[cfg(not(target_arch = "bpf"))]
    return walk(packet, at, network, v4);
}

#[inline(always)]
fn walk(packet: &Packet<'_>, at: usize, network: usize, v4: bool) -> Quoted {
    let mut quoted = Quoted { protocol: 0, client_port: Port::ANY, vip_port: Port::ANY, end: End::Malformed };
    let above = if v4 { walk_v4(packet, at, network, &mut quoted) } else { walk_v6(packet, at, network, &mut quoted) };
    if quoted.end as u8 == End::Reached as u8 && has_ports(quoted.protocol) {
        // RFC 792 promises eight bytes above the quoted IP header; four of them are needed.
        let Some(ports) = packet.view::<PORTS>(above) else {
            quoted.end = End::Malformed;
            return quoted;
        };
        quoted.vip_port = Port::from_wire(ports.wire16::<0>());
        quoted.client_port = Port::from_wire(ports.wire16::<2>());
    }
    quoted
}

/// Where the header above the quoted IP header begins.
#[inline(always)]
fn walk_v4(packet: &Packet<'_>, at: usize, network: usize, quoted: &mut Quoted) -> usize {
    let (Some(outer), Some(header)) = (packet.view::<{ Ipv4Hdr::LEN }>(network), packet.view::<{ Ipv4Hdr::LEN }>(at))
    else {
        return 0;
    };
    let length = ipv4::length(&header);
    if length == 0 {
        return 0;
    }
    quoted.protocol = header.u8::<{ offset_of!(Ipv4Hdr, proto) }>();
    let vip = outer.ipv4::<{ offset_of!(Ipv4Hdr, dst_addr) }>();
    quoted.end = if ipv4::is_later_fragment(&header) {
        End::LaterFragment
    } else if header.ipv4::<{ offset_of!(Ipv4Hdr, src_addr) }>().0 != vip.0 {
        End::AnothersPacket
    } else {
        End::Reached
    };
    at + length
}

/// Where the header above the quoted IPv6 header and its extension headers begins.
#[inline(always)]
fn walk_v6(packet: &Packet<'_>, at: usize, network: usize, quoted: &mut Quoted) -> usize {
    let (Some(outer), Some(header)) = (packet.view::<{ Ipv6Hdr::LEN }>(network), packet.view::<{ Ipv6Hdr::LEN }>(at))
    else {
        return 0;
    };
    if !ipv6::is_ipv6(&header) {
        return 0;
    }
    let next = header.u8::<{ offset_of!(Ipv6Hdr, next_hdr) }>();
    let upper = extensions::step_over(packet, at + Ipv6Hdr::LEN, next);
    quoted.protocol = upper.protocol;
    let vip = outer.ipv6::<{ offset_of!(Ipv6Hdr, dst_addr) }>();
    quoted.end = match upper.obstacle() {
        Some(Outcome::Fragment) => End::LaterFragment,
        Some(Outcome::TooManyExtensions) => End::TooMany,
        Some(_) => End::Malformed,
        None if header.ipv6::<{ offset_of!(Ipv6Hdr, src_addr) }>().0 != vip.0 => End::AnothersPacket,
        None => End::Reached,
    };
    upper.at
}

/// The reading as a subprogram. What it returns has to go through one register.
#[cfg(target_arch = "bpf")]
mod subprogram {
    use aya_ebpf::bindings::xdp_md;

    use super::{End, Packet, Port, Quoted, walk};
    use crate::packet::offset;

    /// Bits 0–15: the client's port; 16–31: the VIP's; 32–39: the protocol; 40–47: the end.
    ///
    /// # Safety
    /// `context` must be what the kernel handed to the program that runs.
    #[unsafe(no_mangle)]
    #[inline(never)]
    unsafe extern "C" fn read_quoted(context: *mut xdp_md, at: u64, network: u64, v4: u64) -> u64 {
        // SAFETY: the caller's promise.
        let packet = unsafe { Packet::from_context(context) };
        let quoted = walk(&packet, offset(at), offset(network), v4 != 0);
        u64::from(quoted.client_port.to_wire())
            | u64::from(quoted.vip_port.to_wire()) << 16
            | u64::from(quoted.protocol) << 32
            | (quoted.end as u64) << 40
    }

    #[inline(always)]
    pub(super) fn call(packet: &Packet<'_>, at: usize, network: usize, v4: bool) -> Quoted {
        // SAFETY: the packet was made of the context of the program that runs.
        let result = unsafe { read_quoted(packet.context(), at as u64, network as u64, u64::from(v4)) };
        Quoted {
            protocol: (result >> 32) as u8,
            client_port: Port::from_wire(result as u16),
            vip_port: Port::from_wire((result >> 16) as u16),
            end: match result >> 40 {
                0 => End::Reached,
                1 => End::Malformed,
                2 => End::LaterFragment,
                3 => End::TooMany,
                _ => End::AnothersPacket,
            },
        }
    }
}
