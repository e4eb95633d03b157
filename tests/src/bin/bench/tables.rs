//! The tables that a case meets.

use std::net::Ipv4Addr;

use drlb_tests::program::INGRESS;
use drlb_tests::sample::{OWN_MAC, address};
use lb_common::address::{Address, MacAddr, Port};
use lb_common::allow::Bits;
use lb_common::backend::{Backend, Segment};
use lb_common::limits::DEFAULT_SLOTS;
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::protocol::{ANY, TCP, UDP};
use lb_common::slot::Slot;
use lb_ebpf::host::HostTables;
use lb_userspace::allow::PrefixBits;
use lb_userspace::maglev;

/// The first VIP.
pub(crate) const VIP: &str = "192.0.2.10";
/// The IPv6 VIP.
pub(crate) const VIP6: &str = "2001:db8::10";
/// Pools; listeners share them when there are more.
const POOLS: u32 = 16;

/// What the tables of a case hold, beside one listener of TCP port 80 and one of UDP port 53 for each VIP, or one of every
/// protocol.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// IPv4 VIPs, from [`VIP`] on.
    pub(crate) vips: u32,
    /// A listener of every protocol (DR mode) for each VIP.
    pub(crate) every_protocol: bool,
    /// Backends of each pool.
    pub(crate) backends: u32,
    /// The first slots' word, of all of them; as Maglev's table has it if not given.
    pub(crate) slot: Option<Slot>,
    /// The allow-list of all listeners.
    pub(crate) allowed: Vec<PrefixBits>,
    /// Round robin instead of the 5-tuple's hash.
    pub(crate) round_robin: bool,
    /// Persistence by the client's address.
    pub(crate) persistence: bool,
    /// The VLAN that the backends stand in; 0 for none.
    pub(crate) vlan: u16,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            vips: 1,
            every_protocol: false,
            backends: 100,
            slot: None,
            allowed: vec![],
            round_robin: false,
            persistence: false,
            vlan: 0,
        }
    }
}

/// So many prefixes that the clients are in, each in another; or in none.
pub(crate) fn allow_list(count: u32, clients: bool) -> Vec<PrefixBits> {
    let mut list: Vec<_> = (0..count)
        .map(|index| {
            // Scattered /24s, of which none is next to another.
            let net = u32::from(Ipv4Addr::new(64, 0, 0, 0)) + index * 512 * 7;
            PrefixBits { bits: Bits::of(&address(&Ipv4Addr::from(net).to_string())), length: 24 }
        })
        .collect();
    if clients {
        list.push(PrefixBits { bits: Bits::of(&address("10.1.0.0")), length: 16 });
    }
    list
}

/// The MAC of a backend.
fn mac(index: u32) -> MacAddr {
    let [_, b, c, d] = index.to_be_bytes();
    MacAddr([0x02, 0xbe, 0, b, c, d])
}

/// The tables.
pub(crate) fn tables(setting: &Setting) -> HostTables {
    let mut tables = HostTables::new(MacAddr(OWN_MAC), INGRESS);
    tables.segments = vec![Segment::new(INGRESS, MacAddr(OWN_MAC), setting.vlan)];
    let backends: Vec<(Address, u16)> =
        (0..setting.backends).map(|index| (address(&format!("10.200.{}.{}", index >> 8, index & 255)), 1)).collect();
    let whole = maglev::table(&backends, DEFAULT_SLOTS);
    let region = DEFAULT_SLOTS.next_multiple_of(16);
    let pools = setting.vips.min(POOLS);
    for pool in 0..pools {
        tables.slots.extend(whole.iter().map(|index| setting.slot.unwrap_or(Slot::steady(*index))));
        tables.slots.resize(((pool + 1) * region) as usize, Slot::EMPTY);
        tables.backends.extend((0..setting.backends).map(|index| Backend::new(mac(index), 0)));
    }
    let schedule_base = pools * region;
    if setting.round_robin {
        tables.slots.extend((0..setting.backends).map(|index| Slot::steady(index as u16)));
        let length = tables.slots.len().next_multiple_of(16);
        tables.slots.resize(length, Slot::EMPTY);
    }
    let trie = (!setting.allowed.is_empty()).then(|| lb_userspace::allow::build(setting.allowed.clone()));
    let first = address(VIP).0[3].to_be();
    let vips = (0..setting.vips).map(|index| Address::from_v4_word((first + index).to_be())).chain([address(VIP6)]);
    for (number, vip) in vips.enumerate() {
        let ports = [(TCP, Port::from_host(80)), (UDP, Port::from_host(53))];
        let listened: &[(u8, Port)] = if setting.every_protocol { &[(ANY, Port::ANY)] } else { &ports };
        for &(protocol, port) in listened {
            let pool = number as u32 % pools;
            let listener = Listener {
                id: tables.listeners.len() as u32,
                pool: pool + 1,
                slots_base: pool * region,
                slots_len: DEFAULT_SLOTS,
                backends_base: pool * setting.backends,
                backends_len: setting.backends,
                schedule_base: if setting.round_robin { schedule_base } else { 0 },
                schedule_len: if setting.round_robin { setting.backends } else { 0 },
                algorithm: if setting.round_robin { Listener::ROUND_ROBIN } else { Listener::SOURCE_IP_PORT },
                persistence: if setting.persistence { 128 } else { 0 },
                guards: if trie.is_some() { Listener::GUARD_ALLOW } else { 0 },
                allow_base: 0,
                allow_len: trie.as_ref().map_or(0, |trie| trie.words.len() as u32),
                allow_from: trie.as_ref().map_or(0, |trie| trie.from),
                allow_bits: trie.as_ref().map_or(0, |trie| trie.bits),
                ..Listener::NONE
            };
            tables.listeners.insert(ListenerKey::new(vip, protocol, port), listener);
        }
        let flags = if setting.every_protocol { Vip::WILDCARD_ANY } else { 0 };
        tables.vips.insert(vip, Vip { flags });
    }
    tables.allowed = trie.map_or_else(Vec::new, |trie| trie.words);
    tables
}
