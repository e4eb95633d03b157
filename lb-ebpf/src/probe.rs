//! Probes of health checks: the way of a probe to its backend, and of its answer back to who sent it.
//!
//! An answer is known by who it is for: it must be addressed to an address and port of ours that a probe was sent from, and
//! come from, or tell of, the VIP and port that this probe went to. So no other packet is touched.

use lb_common::address::Port;
use lb_common::backend::{Backend, Segment};
use lb_common::probe::{PROBE_MAC, ProbeKey};
use lb_common::protocol;

use crate::packet::Packet;
use crate::parse::{Headers, Kind};
use crate::select::Chosen;
use crate::tables::Tables;

/// Length of the fixed part of both ICMP headers.
const ICMP: usize = 8;
/// Where the identifier of an echo stands in it (RFC 792, RFC 4443 section 4).
const IDENTIFIER: usize = 4;

/// True if a packet that is not for a VIP answers a probe. Where it goes then is noted.
#[inline(always)]
pub fn is_answer<T: Tables>(packet: &Packet<'_>, headers: &Headers, chosen: &mut Chosen, tables: &T) -> bool {
    let flow = &headers.flow;
    if headers.kind as u32 != Kind::Flow as u32 {
        return false;
    }
    let echo = is_icmp(flow.protocol) && !headers.related;
    let port = if echo { identifier(packet, headers) } else { flow.ports.destination() };
    let Some(target) = tables.probe(&ProbeKey::new(flow.destination, port, flow.protocol)) else {
        return false;
    };
    if target.vip != flow.source || target.vip_port != flow.ports.source() {
        return false;
    }
    // Who sent it stands in no VLAN, and has one MAC for all.
    let segment = Segment::new(0, PROBE_MAC, 0);
    *chosen = Chosen { backend: Backend::new(PROBE_MAC, 0), segment, ..Chosen::NONE };
    true
}

/// Finds the backend that a packet from the probes' side is for. False if it is none of a probe.
#[inline(always)]
pub fn target<T: Tables>(packet: &Packet<'_>, headers: &Headers, chosen: &mut Chosen, tables: &T) -> bool {
    let flow = &headers.flow;
    let port = match headers.kind {
        Kind::Flow => flow.ports.source(),
        Kind::Echo => identifier(packet, headers),
        _ => return false,
    };
    let Some(target) = tables.probe(&ProbeKey::new(flow.source, port, flow.protocol)) else {
        return false;
    };
    if target.vip != flow.destination || target.vip_port != flow.ports.destination() {
        return false;
    }
    let Some(segment) = tables.segment(target.backend.segment()) else {
        return false;
    };
    *chosen = Chosen { backend: target.backend, segment, ..Chosen::NONE };
    true
}

#[inline(always)]
const fn is_icmp(protocol: u8) -> bool {
    protocol == protocol::ICMP || protocol == protocol::ICMPV6
}

#[inline(always)]
fn identifier(packet: &Packet<'_>, headers: &Headers) -> Port {
    packet.view::<ICMP>(headers.transport).map_or(Port::ANY, |header| Port::from_wire(header.wire16::<IDENTIFIER>()))
}
