//! A balancer's tables, small enough to know by heart: what the packet fixtures and the differential test run against.
//!
//! Each listener has a pool of one backend, so that the backend that a packet goes to tells which listener it matched;
//! only [`SPREAD`], [`SOURCE`] and [`SPREAD6`] have several.

use std::net::IpAddr;

use lb_common::address::{Address, MacAddr, Port};
use lb_common::backend::{Backend, Segment};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::protocol::{ANY, SCTP, TCP, UDP};
use lb_common::slot::Slot;
use lb_ebpf::host::HostTables;

use crate::program::INGRESS;

/// The balancer's MAC on the interface that packets come in by.
pub const OWN_MAC: [u8; 6] = [0x02, 0xba, 0x1a, 0x4c, 0xe4, 0x01];
/// The balancer's MAC on its other interface.
pub const OTHER_MAC: [u8; 6] = [0x02, 0xba, 0x1a, 0x4c, 0xe4, 0x02];

/// TCP port 80 ([`WEB`]), UDP port 53 ([`DNS`]), SCTP port 38412 ([`SIGNALLING`]).
pub const VIP: &str = "192.0.2.10";
/// Every protocol ([`ALL`]).
pub const VIP_IP: &str = "192.0.2.11";
/// Every port of TCP ([`EVERY_TCP`]), TCP port 22 ([`SSH`]), every protocol ([`REST`]).
pub const VIP_MIXED: &str = "192.0.2.12";
/// TCP port 80, with a pool that has no backend.
pub const VIP_EMPTY: &str = "192.0.2.13";
/// TCP port 80, with a backend that is not reachable.
pub const VIP_UNREACHABLE: &str = "192.0.2.14";
/// TCP port 80, with a pool of one backend whose slots name a second one.
pub const VIP_STALE: &str = "192.0.2.18";
/// TCP and UDP port 80, over [`SPREAD`] by the 5-tuple.
pub const VIP_SPREAD: &str = "192.0.2.15";
/// Every protocol, over [`SOURCE`] by the client's address.
pub const VIP_SOURCE: &str = "192.0.2.16";
/// TCP port 80, with a backend behind the other interface ([`FAR`]).
pub const VIP_FAR: &str = "192.0.2.17";
/// TCP port 443 ([`WEB6`]), UDP port 443 ([`QUIC6`]).
pub const VIP6: &str = "2001:db8::10";
/// Every protocol ([`ALL6`]).
pub const VIP6_IP: &str = "2001:db8::11";
/// TCP port 80, over [`SPREAD6`] by the 5-tuple.
pub const VIP6_SPREAD: &str = "2001:db8::15";

/// Places of the backends.
pub const WEB: u32 = 0;
/// See [`VIP`].
pub const DNS: u32 = 1;
/// See [`VIP`].
pub const SIGNALLING: u32 = 2;
/// See [`VIP_IP`].
pub const ALL: u32 = 3;
/// See [`VIP_MIXED`].
pub const EVERY_TCP: u32 = 4;
/// See [`VIP_MIXED`].
pub const SSH: u32 = 5;
/// See [`VIP_MIXED`].
pub const REST: u32 = 6;
/// See [`VIP_FAR`].
pub const FAR: u32 = 7;
/// See [`VIP6`].
pub const WEB6: u32 = 8;
/// See [`VIP6`].
pub const QUIC6: u32 = 9;
/// See [`VIP6_IP`].
pub const ALL6: u32 = 10;
/// See [`VIP_UNREACHABLE`].
pub const UNREACHABLE: u32 = 11;
/// See [`VIP_SPREAD`].
pub const SPREAD: std::ops::Range<u32> = 12..16;
/// See [`VIP_SOURCE`].
pub const SOURCE: std::ops::Range<u32> = 16..20;
/// See [`VIP6_SPREAD`].
pub const SPREAD6: std::ops::Range<u32> = 20..24;

/// The MAC of the backend at a place.
#[must_use]
pub fn backend_mac(place: u32) -> [u8; 6] {
    [0x02, 0xbe, 0, 0, 0, u8::try_from(place).expect("a place of the sample")]
}

/// An address of the sample, as the maps have it.
#[must_use]
pub fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

struct Builder {
    tables: HostTables,
}

impl Builder {
    /// A listener over the backends at these places.
    fn listener(&mut self, vip: &str, protocol: u8, port: u16, places: std::ops::Range<u32>, hash: u32) {
        let slots_base = u32::try_from(self.tables.slots.len()).expect("a small table");
        let count = u16::try_from(places.len()).expect("a small pool");
        let slots_len = u32::from(count) * 5;
        self.tables.slots.extend((0..slots_len).map(|slot| Slot::steady((slot % u32::from(count)) as u16)));
        let whole_lines = self.tables.slots.len().next_multiple_of(16);
        self.tables.slots.resize(whole_lines, Slot::EMPTY);
        let key = ListenerKey::new(address(vip), protocol, Port::from_host(port));
        let id = u32::try_from(self.tables.listeners.len()).expect("a few listeners");
        let backends_len = u32::from(count);
        let listener = Listener { id, slots_base, slots_len, backends_base: places.start, backends_len, hash };
        self.tables.listeners.insert(key, listener);
        let vip = self.tables.vips.entry(address(vip)).or_default();
        if port == 0 {
            vip.wildcards |= Vip::wildcard_of(protocol);
        }
    }

    fn one(&mut self, vip: &str, protocol: u8, port: u16, place: u32) {
        self.listener(vip, protocol, port, place..place + 1, Listener::HASH_FLOW);
    }
}

/// The tables.
#[must_use]
pub fn tables() -> HostTables {
    let mut tables = HostTables::new(MacAddr(OWN_MAC), INGRESS);
    tables.segments = vec![
        Segment { ifindex: INGRESS, mac: MacAddr(OWN_MAC), reserved: 0 },
        Segment { ifindex: INGRESS + 1, mac: MacAddr(OTHER_MAC), reserved: 0 },
    ];
    tables.backends = (0..SPREAD6.end)
        .map(|place| match place {
            UNREACHABLE => Backend::UNREACHABLE,
            _ => Backend::new(MacAddr(backend_mac(place)), u16::from(place == FAR)),
        })
        .collect();
    let mut builder = Builder { tables };
    builder.one(VIP, TCP, 80, WEB);
    builder.one(VIP, UDP, 53, DNS);
    builder.one(VIP, SCTP, 38_412, SIGNALLING);
    builder.one(VIP_IP, ANY, 0, ALL);
    builder.one(VIP_MIXED, TCP, 0, EVERY_TCP);
    builder.one(VIP_MIXED, TCP, 22, SSH);
    builder.one(VIP_MIXED, ANY, 0, REST);
    builder.listener(VIP_EMPTY, TCP, 80, 0..0, Listener::HASH_FLOW);
    builder.one(VIP_UNREACHABLE, TCP, 80, UNREACHABLE);
    builder.one(VIP_STALE, TCP, 80, WEB);
    let stale = builder.tables.listeners[&ListenerKey::new(address(VIP_STALE), TCP, Port::from_host(80))];
    let slots = stale.slots_base as usize..(stale.slots_base + stale.slots_len) as usize;
    builder.tables.slots[slots].fill(Slot::steady(1));
    builder.listener(VIP_SPREAD, TCP, 80, SPREAD, Listener::HASH_FLOW);
    builder.listener(VIP_SPREAD, UDP, 80, SPREAD, Listener::HASH_FLOW);
    builder.listener(VIP_SOURCE, ANY, 0, SOURCE, Listener::HASH_SOURCE);
    builder.one(VIP_FAR, TCP, 80, FAR);
    builder.one(VIP6, TCP, 443, WEB6);
    builder.one(VIP6, UDP, 443, QUIC6);
    builder.one(VIP6_IP, ANY, 0, ALL6);
    builder.listener(VIP6_SPREAD, TCP, 80, SPREAD6, Listener::HASH_FLOW);
    builder.tables
}
