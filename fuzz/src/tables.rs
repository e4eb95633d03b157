//! The tables that fuzzed packets meet, and packets for them.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytemuck::Zeroable;
use lb_common::address::{Address, MacAddr, Port};
use lb_common::backend::{Backend, Segment};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::protocol::{ANY, TCP, UDP};
use lb_common::slot::Slot;
use lb_ebpf::host::HostTables;

/// The balancer's MAC.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// An IPv4 VIP: TCP port 80, UDP port 53.
pub const VIP: [u8; 4] = [192, 0, 2, 10];
/// An IPv6 VIP: every protocol.
pub const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
/// A router between client and balancer.
const ROUTER: [u8; 4] = [203, 0, 113, 1];
/// A router between client and balancer.
const ROUTER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0xf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Backends of each pool; every second stands in a VLAN.
const BACKENDS: u32 = 4;

/// The tables: a pool of four for each listener, nothing that has to be remembered but fragments.
#[must_use]
pub fn tables() -> HostTables {
    let mut tables = HostTables::new(MacAddr(OWN_MAC), 1);
    let segment = |vlan| Segment::new(1, MacAddr(OWN_MAC), vlan);
    tables.segments = vec![segment(0), segment(100)];
    let (v4, v6) = (Address::from(Ipv4Addr::from(VIP)), Address::from(Ipv6Addr::from(VIP6)));
    let listeners = [(v4, TCP, 80), (v4, UDP, 53), (v6, ANY, 0)];
    for (id, (vip, protocol, port)) in (0_u32..).zip(listeners) {
        let slots_base = u32::try_from(tables.slots.len()).expect("a small table");
        tables.slots.extend((0..16).map(|slot| Slot::steady(slot % BACKENDS as u16)));
        tables.backends.extend(
            (0..BACKENDS)
                .map(|index| Backend::new(MacAddr([2, 0, 0, 1, id as u8, index as u8]), u16::from(index % 2 == 1))),
        );
        let listener = Listener {
            id,
            pool: id + 1,
            slots_base,
            slots_len: 16,
            backends_base: id * BACKENDS,
            backends_len: BACKENDS,
            ..Listener::zeroed()
        };
        tables.listeners.insert(ListenerKey::new(vip, protocol, Port::from_host(port)), listener);
        tables.vips.entry(vip).or_default().flags |= if port == 0 { Vip::wildcard_of(protocol) } else { 0 };
    }
    tables
}

/// A frame to the balancer with an IP packet.
fn frame(ether_type: [u8; 2], packet: &[&[u8]]) -> Vec<u8> {
    [&OWN_MAC[..], &[2, 0, 0, 0, 0, 9], &ether_type, &packet.concat()].concat()
}

fn v4(protocol: u8, source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap_or(0).to_be_bytes();
    let fixed = [0x45, 0, high, low, 0, 7, 0, 0, 61, protocol, 0, 0];
    frame([0x08, 0x00], &[&fixed, &source, &VIP, payload])
}

fn v6(protocol: u8, source: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    frame([0x86, 0xdd], &[&[0x60, 0, 0, 0, high, low, protocol, 61], &source, &VIP6, payload])
}

/// An error about this packet, of ICMP or of ICMPv6, to the VIP: unreachable.
pub(crate) fn error(is_v4: bool, quoted: &[u8]) -> Vec<u8> {
    let message = |kind| [&[kind, 1, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    if is_v4 { v4(1, ROUTER, &message(3)) } else { v6(58, ROUTER6, &message(1)) }
}

/// A packet of the flow that an error about this packet tells of; nothing where a look is not enough to tell: the VIP did
/// not send it, it is a fragment, has extension headers, or no ports.
pub(crate) fn flow_of(is_v4: bool, quoted: &[u8]) -> Option<Vec<u8>> {
    let protocol = *quoted.get(if is_v4 { 9 } else { 6 })?;
    if ![6, 17, 132].contains(&protocol) {
        return None;
    }
    let segment = |at: usize| {
        let ports = quoted.get(at..at + 4)?;
        Some([&ports[2..], &ports[..2], &[0; 8], &[0x50, 0x10], &[0; 6]].concat())
    };
    if is_v4 {
        let length = usize::from(quoted.first()? & 15) * 4;
        let is_ours = quoted[0] >> 4 == 4 && length >= 20 && quoted.get(12..16)? == VIP;
        let is_whole = quoted.get(6..8).is_some_and(|bits| bits[0] & 0x3f == 0 && bits[1] == 0);
        let client = quoted.get(16..20)?.try_into().ok()?;
        (is_ours && is_whole).then_some(())?;
        Some(v4(protocol, client, &segment(length)?))
    } else {
        (quoted.first()? >> 4 == 6 && quoted.get(8..24)? == VIP6).then_some(())?;
        Some(v6(protocol, quoted.get(24..40)?.try_into().ok()?, &segment(40)?))
    }
}
