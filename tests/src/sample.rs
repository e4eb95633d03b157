//! A balancer's tables, small enough to know by heart: what the packet fixtures and the differential test run against.
//!
//! Each listener has a pool of one backend, so that the backend that a packet goes to tells which listener it matched;
//! only the pools that are ranges of places have several.

use std::net::IpAddr;

use lb_common::address::{Address, MacAddr, Port};
use lb_common::allow::Bits;
use lb_common::backend::{Backend, Load, Segment};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::probe::{ProbeKey, ProbeTarget};
use lb_common::protocol::{ANY, ICMP, ICMPV6, SCTP, TCP, UDP};
use lb_common::slot::Slot;
use lb_ebpf::host::HostTables;
use lb_userspace::allow::PrefixBits;
use lb_userspace::model::Prefix;

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
/// Every protocol, over [`SPREAD`] by the 5-tuple.
pub const VIP_EVERY: &str = "192.0.2.19";
/// Every protocol, over [`SOURCE`] by the client's address.
pub const VIP_SOURCE: &str = "192.0.2.16";
/// TCP port 80, with a backend behind the other interface ([`FAR`]).
pub const VIP_FAR: &str = "192.0.2.17";
/// Every port of TCP and UDP, SCTP port 9, over [`CHANGING`]: its slots are moving from the first to the second.
pub const VIP_MOVING: &str = "192.0.2.20";
/// The same, but its slots have settled on the second.
pub const VIP_SETTLING: &str = "192.0.2.21";
/// TCP and UDP port 80, over [`TURNS`] by round robin; the second has weight 2.
pub const VIP_TURNS: &str = "192.0.2.22";
/// TCP port 80, over [`LEAST`] by least connections.
pub const VIP_LEAST: &str = "192.0.2.23";
/// TCP port 80, over [`SESSIONS`] by the 5-tuple, with persistence of the client's address.
pub const VIP_SESSIONS: &str = "192.0.2.24";
/// The same, of the first 64 bits of an IPv6 client's address, over [`SESSIONS6`].
pub const VIP6_SESSIONS: &str = "2001:db8::24";
/// TCP port 80, with a backend in VLAN 100 of the interface that packets come in by ([`TAGGED`]).
pub const VIP_TAGGED: &str = "192.0.2.40";
/// TCP port 80, with a backend in VLAN 200 of the other interface ([`FAR_TAGGED`]).
pub const VIP_FAR_TAGGED: &str = "192.0.2.41";
/// TCP port 443 ([`WEB6`]), UDP port 443 ([`QUIC6`]).
pub const VIP6: &str = "2001:db8::10";
/// Every protocol ([`ALL6`]).
pub const VIP6_IP: &str = "2001:db8::11";
/// TCP port 80, over [`SPREAD6`] by the 5-tuple.
pub const VIP6_SPREAD: &str = "2001:db8::15";

/// TCP port 80 ([`GUARDED`]), from [`ALLOWED`] only; UDP port 80, from another list.
pub const VIP_GUARDED: &str = "192.0.2.25";
/// The same for IPv6 ([`GUARDED6`], [`ALLOWED6`]): TCP port 80.
pub const VIP6_GUARDED: &str = "2001:db8::25";
/// TCP port 80 ([`WEB`]); the host's kernel answers for it.
pub const VIP_HOST: &str = "192.0.2.26";
/// TCP port 80 ([`WEB`]); nobody answers for it.
pub const VIP_SILENT: &str = "192.0.2.27";
/// The same for IPv6: TCP port 80 ([`WEB6`]).
pub const VIP6_HOST: &str = "2001:db8::26";
/// The same for IPv6: TCP port 80 ([`WEB6`]).
pub const VIP6_SILENT: &str = "2001:db8::27";
/// TCP port 80 ([`LIMITED`]): each /24 may begin three flows at once, and one more in four seconds; TCP port 81 and UDP:
/// two flows each.
pub const VIP_LIMITED: &str = "192.0.2.28";
/// TCP port 80 ([`LIMITED`]): no source may begin a flow; TCP port 81 and UDP: none at all.
pub const VIP_SHUT: &str = "192.0.2.29";
/// The allow-list of [`VIP_GUARDED`].
pub const ALLOWED: &[&str] = &["198.51.100.0/25", "203.0.113.7/32", "10.0.0.0/8"];
/// The allow-list of [`VIP6_GUARDED`].
pub const ALLOWED6: &[&str] = &["2001:db8:c::/48", "2001:db8:d:1::/64", "2001:db8:e::7/128"];

/// The address that probes of health checks are sent from.
pub const PROBER: &str = "192.0.2.200";
/// The same for IPv6.
pub const PROBER6: &str = "2001:db8::200";
/// Probes that are under way: from which address, by which protocol, from which port (of a ping its identifier), to which VIP
/// and port.
pub const PROBES: &[(&str, u8, u16, &str, u16)] = &[
    (PROBER, TCP, 40_000, VIP, 80),
    (PROBER, UDP, 40_000, VIP, 53),
    (PROBER, ICMP, 0, VIP_IP, 0),
    (PROBER6, TCP, 40_000, VIP6, 443),
    (PROBER6, ICMPV6, 0, VIP6_IP, 0),
];

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
/// See [`VIP_MOVING`] and [`VIP_SETTLING`].
pub const CHANGING: std::ops::Range<u32> = 24..27;
/// See [`VIP_TURNS`].
pub const TURNS: std::ops::Range<u32> = 27..30;
/// See [`VIP_LEAST`].
pub const LEAST: std::ops::Range<u32> = 30..33;
/// See [`VIP_SESSIONS`].
pub const SESSIONS: std::ops::Range<u32> = 33..37;
/// See [`VIP6_SESSIONS`].
pub const SESSIONS6: std::ops::Range<u32> = 37..41;
/// See [`VIP_GUARDED`].
pub const GUARDED: u32 = 41;
/// See [`VIP6_GUARDED`].
pub const GUARDED6: u32 = 42;
/// See [`VIP_TAGGED`].
pub const TAGGED: u32 = 43;
/// See [`VIP_FAR_TAGGED`].
pub const FAR_TAGGED: u32 = 44;
/// See [`VIP_LIMITED`].
pub const LIMITED: u32 = 45;
/// Places in all.
const PLACES: u32 = 46;

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
    fn listener(
        &mut self,
        vip: &str,
        protocol: u8,
        port: u16,
        places: std::ops::Range<u32>,
        algorithm: u8,
    ) -> ListenerKey {
        let slots_base = u32::try_from(self.tables.slots.len()).expect("a small table");
        let count = u16::try_from(places.len()).expect("a small pool");
        let slots_len = u32::from(count) * 5;
        self.tables.slots.extend((0..slots_len).map(|slot| Slot::steady((slot % u32::from(count)) as u16)));
        let whole_lines = self.tables.slots.len().next_multiple_of(16);
        self.tables.slots.resize(whole_lines, Slot::EMPTY);
        let key = ListenerKey::new(address(vip), protocol, Port::from_host(port));
        let id = u32::try_from(self.tables.listeners.len()).expect("a few listeners");
        let backends_len = u32::from(count);
        let listener = Listener {
            id,
            pool: id + 1,
            slots_base,
            slots_len,
            backends_base: places.start,
            backends_len,
            algorithm,
            ..Listener::NONE
        };
        self.tables.listeners.insert(key, listener);
        let vip = self.tables.vips.entry(address(vip)).or_default();
        if port == 0 {
            vip.flags |= Vip::wildcard_of(protocol);
        }
        key
    }

    /// Writes all slots of a listener's table.
    fn slots(&mut self, key: ListenerKey, slot: Slot) {
        let listener = self.tables.listeners[&key];
        let slots = listener.slots_base as usize..(listener.slots_base + listener.slots_len) as usize;
        self.tables.slots[slots].fill(slot);
    }

    /// Changes what a listener is.
    fn set(&mut self, key: ListenerKey, change: impl FnOnce(&mut Listener)) {
        self.tables.listeners.entry(key).and_modify(change);
    }

    /// Lets a listener take packets from these prefixes only.
    fn allow(&mut self, key: ListenerKey, prefixes: &[&str]) {
        let prefix = |text: &&str| {
            let prefix: Prefix = text.parse().expect("a prefix");
            PrefixBits { bits: Bits::of(&prefix.address().into()), length: prefix.length() }
        };
        let trie = lb_userspace::allow::build(prefixes.iter().map(prefix).collect());
        let allow_base = u32::try_from(self.tables.allowed.len()).expect("a few lists");
        let allow_len = u32::try_from(trie.words.len()).expect("a short list");
        self.tables.allowed.extend(trie.words);
        self.set(key, |listener| {
            listener.guards |= Listener::GUARD_ALLOW;
            (listener.allow_base, listener.allow_len) = (allow_base, allow_len);
            (listener.allow_from, listener.allow_bits) = (trie.from, trie.bits);
        });
    }

    fn one(&mut self, vip: &str, protocol: u8, port: u16, place: u32) {
        self.listener(vip, protocol, port, place..place + 1, Listener::SOURCE_IP_PORT);
    }
}

/// The tables.
#[must_use]
pub fn tables() -> HostTables {
    let mut tables = HostTables::new(MacAddr(OWN_MAC), INGRESS);
    tables.segments = vec![
        Segment::new(INGRESS, MacAddr(OWN_MAC), 0),
        Segment::new(INGRESS + 1, MacAddr(OTHER_MAC), 0),
        Segment::new(INGRESS, MacAddr(OWN_MAC), 100),
        Segment::new(INGRESS + 1, MacAddr(OTHER_MAC), 200),
    ];
    tables.backends = (0..PLACES)
        .map(|place| match place {
            UNREACHABLE => Backend::UNREACHABLE,
            FAR => Backend::new(MacAddr(backend_mac(place)), 1),
            TAGGED => Backend::new(MacAddr(backend_mac(place)), 2),
            FAR_TAGGED => Backend::new(MacAddr(backend_mac(place)), 3),
            _ => Backend::new(MacAddr(backend_mac(place)), 0),
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
    builder.listener(VIP_EMPTY, TCP, 80, 0..0, Listener::SOURCE_IP_PORT);
    builder.one(VIP_UNREACHABLE, TCP, 80, UNREACHABLE);
    let stale = builder.listener(VIP_STALE, TCP, 80, WEB..WEB + 1, Listener::SOURCE_IP_PORT);
    builder.slots(stale, Slot::steady(1));
    builder.listener(VIP_SPREAD, TCP, 80, SPREAD, Listener::SOURCE_IP_PORT);
    builder.listener(VIP_SPREAD, UDP, 80, SPREAD, Listener::SOURCE_IP_PORT);
    builder.listener(VIP_EVERY, ANY, 0, SPREAD, Listener::SOURCE_IP_PORT);
    builder.listener(VIP_SOURCE, ANY, 0, SOURCE, Listener::SOURCE_IP);
    builder.one(VIP_FAR, TCP, 80, FAR);
    builder.one(VIP_TAGGED, TCP, 80, TAGGED);
    builder.one(VIP_FAR_TAGGED, TCP, 80, FAR_TAGGED);
    builder.one(VIP6, TCP, 443, WEB6);
    builder.one(VIP6, UDP, 443, QUIC6);
    builder.one(VIP6_IP, ANY, 0, ALL6);
    builder.listener(VIP6_SPREAD, TCP, 80, SPREAD6, Listener::SOURCE_IP_PORT);
    for (protocol, port) in [(TCP, 0), (UDP, 0), (SCTP, 9)] {
        let moving = builder.listener(VIP_MOVING, protocol, port, CHANGING, Listener::SOURCE_IP_PORT);
        builder.slots(moving, Slot::moving(0, 1));
        let settling = builder.listener(VIP_SETTLING, protocol, port, CHANGING, Listener::SOURCE_IP_PORT);
        builder.slots(settling, Slot::settling(1));
    }
    let schedule_base = u32::try_from(builder.tables.slots.len()).expect("a small table");
    let schedule = [0, 1, 2, 1].map(Slot::steady);
    builder.tables.slots.extend(schedule);
    builder.tables.slots.resize(schedule_base as usize + 16, Slot::EMPTY);
    for protocol in [TCP, UDP] {
        let turns = builder.listener(VIP_TURNS, protocol, 80, TURNS, Listener::ROUND_ROBIN);
        builder.set(turns, |listener| {
            listener.schedule_base = schedule_base;
            listener.schedule_len = 4;
        });
    }
    builder.listener(VIP_LEAST, TCP, 80, LEAST, Listener::LEAST_CONNECTIONS);
    for place in LEAST {
        builder.tables.memory.get_mut().loads.insert(place, Load { flows: 0, weight: 1 });
    }
    let sessions = builder.listener(VIP_SESSIONS, TCP, 80, SESSIONS, Listener::SOURCE_IP_PORT);
    builder.set(sessions, |listener| listener.persistence = 128);
    let sessions = builder.listener(VIP6_SESSIONS, TCP, 80, SESSIONS6, Listener::SOURCE_IP_PORT);
    builder.set(sessions, |listener| listener.persistence = 64);
    for (protocol, list) in [(UDP, &["192.0.2.0/24"][..]), (TCP, ALLOWED)] {
        let guarded = builder.listener(VIP_GUARDED, protocol, 80, GUARDED..GUARDED + 1, Listener::SOURCE_IP_PORT);
        builder.allow(guarded, list);
    }
    let guarded = builder.listener(VIP6_GUARDED, TCP, 80, GUARDED6..GUARDED6 + 1, Listener::SOURCE_IP_PORT);
    builder.allow(guarded, ALLOWED6);
    for (vip, burst, flows) in [(VIP_LIMITED, 3, 2), (VIP_SHUT, 0, 0)] {
        let limited = builder.listener(vip, TCP, 80, LIMITED..LIMITED + 1, Listener::SOURCE_IP_PORT);
        builder.set(limited, |listener| {
            listener.guards |= Listener::GUARD_RATE;
            (listener.rate_prefix, listener.rate_interval, listener.rate_burst) = (24, 4_000_000_000, burst);
        });
        for (protocol, port) in [(TCP, 81), (UDP, 0)] {
            let limited = builder.listener(vip, protocol, port, LIMITED..LIMITED + 1, Listener::SOURCE_IP_PORT);
            builder.set(limited, |listener| {
                listener.guards |= Listener::GUARD_FLOWS | Listener::GUARD_PINS;
                listener.max_flows = flows;
            });
        }
    }
    for (vip, place, owner) in [
        (VIP_HOST, WEB, Vip::OWNER_HOST),
        (VIP_SILENT, WEB, Vip::OWNER_NONE),
        (VIP6_HOST, WEB6, Vip::OWNER_HOST),
        (VIP6_SILENT, WEB6, Vip::OWNER_NONE),
    ] {
        builder.one(vip, TCP, 80, place);
        builder.tables.vips.entry(address(vip)).or_default().flags |= owner;
    }
    for (prober, protocol, port, vip, vip_port) in PROBES {
        let key = ProbeKey::new(address(prober), Port::from_host(*port), *protocol);
        let backend = Backend::new(MacAddr(backend_mac(WEB)), 0);
        let target = ProbeTarget::new(backend, address(vip), Port::from_host(*vip_port));
        builder.tables.probes.insert(key, target);
    }
    builder.tables
}
