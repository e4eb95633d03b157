//! The tables that packets are matched in: listeners by what they listen on, and VIPs by their address.
//!
//! They are hash tables of our own in memory-mapped arrays, as a look-up in the kernel's hash map is most of what a packet
//! costs. An entry is looked for in [`MOST_PROBES`] places, from its home on (linear probing), and the search ends at the
//! first that was never used. Most look-ups meet one cache line.
//!
//! The agent writes while packets read, so an entry that is published never changes. A changed one is written to another
//! place and published there before the old one is withdrawn, after a moment if a search meets the new place first: a packet
//! meets one of the two. A place that was withdrawn is written again only after [`PAUSE`], when no packet can be reading it any
//! more. An entry is published by its last word, its *mark*, which is stored after all others.
//!
//! ```text
//! entry:  key │ mark │ what the program knows of it
//! mark:   FREE, WITHDRAWN, or the whole key in one word, with a bit that says that it is published
//! ```

use core::mem::offset_of;
use core::time::Duration;

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, Port};
use crate::hash;
use crate::listener::{Listener, ListenerKey, Vip};
use crate::protocol;

/// Places of each table, as a power of two: at most a quarter of them is used, so that neighbours are rare.
pub const PLACES_BITS: u32 = 16;
/// Places of each table.
pub const PLACES: u32 = 1 << PLACES_BITS;
/// The places that an entry may stand in.
pub const MOST_PROBES: u32 = 32;
/// How long a place that was withdrawn stays as it was. A packet is on its way for some microseconds.
pub const PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(crate::limits::MAX_LISTENERS <= PLACES / 4 && crate::limits::MAX_VIPS <= PLACES / 4);

/// The mark of a place that was never used since the places behind it were looked at last: a search ends here.
pub const FREE: u64 = 0;
/// The mark of a place whose entry was withdrawn: a search goes on.
pub const WITHDRAWN: u64 = 1 << 10;
/// Says that an entry is published.
const PUBLISHED: u64 = 1 << 9;
/// Says that an entry is of a listener on every protocol. A packet that claims to be of [`protocol::ANY`] finds it as all do that
/// have no listener of their own, and not as the exact one, which is sought without this bit.
const EVERY_PROTOCOL: u64 = 1 << 11;
/// Says that the address of an entry is not all in its mark: IPv6.
const LONG: u64 = 1 << 8;

/// A key in one word: the protocol in the lowest bits, the port from bit 16 on, as it stands in a packet's two ports, then the
/// address. An IPv4 address is all there, so that who finds its word has found the entry; an IPv6 address is there by 32 bits of
/// its hash.
#[inline(always)]
const fn word(address: &Address, protocol: u8, port: Port) -> u64 {
    let (short, long) = if address.is_v4() {
        (address.0[3], 0)
    } else {
        let [first, last] = address.halves();
        let product = (first.wrapping_mul(hash::FACTORS[1]) ^ last).wrapping_mul(hash::FACTORS[2]);
        ((product >> 32) as u32, LONG)
    };
    (short as u64) << 32 | (port.to_wire() as u64) << 16 | long | protocol as u64
}

/// True if an entry with this mark is the one that is sought without a look at its address.
#[inline(always)]
#[must_use]
pub const fn tells_all(mark: u64) -> bool {
    mark & LONG == 0
}

/// Where the search for a key begins: the high bits of a product, which depend on all bits of its factors. Keys that follow each
/// other, as an operator's do, meet less often than chance would have it.
#[inline(always)]
const fn home(word: u64) -> u32 {
    (hash::spread(word) >> (64 - PLACES_BITS)) as u32
}

/// The place of that number in a search that begins at `home`.
#[inline(always)]
#[must_use]
pub const fn place(home: u32, probe: u32) -> u32 {
    home.wrapping_add(probe) & (PLACES - 1)
}

/// A listener's entry: two cache lines, of which nearly all packets read the first. 128 bytes, no padding.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ListenerEntry {
    /// The VIP.
    pub vip: Address,
    /// VIP, protocol and port in one word, and whether it is published.
    pub mark: u64,
    /// The listener and its pool.
    pub listener: Listener,
    /// Always zero.
    pub reserved: [u32; 11],
}

/// A VIP's entry. 32 bytes, no padding.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct VipEntry {
    /// The VIP.
    pub address: Address,
    /// The VIP in one word, and whether it is published.
    pub mark: u64,
    /// What the program knows of it.
    pub vip: Vip,
    /// Always zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ListenerEntry>() == 128 && size_of::<VipEntry>() == 32);
// What packets without a guard read of a listener is in the entry's first cache line.
const _: () = assert!(offset_of!(ListenerEntry, listener) + offset_of!(Listener, allow_base) <= 64);

/// What both kinds of entries have.
pub trait Entry: Pod {
    /// What they are looked up by.
    type Key: Copy + Ord;
    /// What is looked up.
    type Value: Copy + PartialEq;

    /// A published entry.
    fn new(key: Self::Key, value: Self::Value) -> Self;
    /// Its mark.
    fn mark(&self) -> u64;
    /// Its key and its value; `None` if it is not published.
    fn get(&self) -> Option<(Self::Key, Self::Value)>;
    /// Where the search for a key begins.
    fn home(key: &Self::Key) -> u32;
    /// Which word of the entry, of 8 bytes, is its mark.
    const MARK_WORD: usize;
}

impl ListenerKey {
    /// The key in one word: VIP, protocol and port.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self) -> u64 {
        word(&self.vip, self.protocol, self.port)
    }

    /// The mark of a published entry with this key.
    #[inline(always)]
    #[must_use]
    pub const fn mark(&self) -> u64 {
        self.exact_mark() | if self.protocol == protocol::ANY { EVERY_PROTOCOL } else { 0 }
    }

    /// The same for a key of one protocol; no entry has it that is for every protocol.
    #[inline(always)]
    #[must_use]
    pub const fn exact_mark(&self) -> u64 {
        self.word() | PUBLISHED
    }

    /// Where the search for this key begins.
    #[inline(always)]
    #[must_use]
    pub const fn home(&self) -> u32 {
        home(self.word())
    }
}

impl Vip {
    /// The mark of a published entry of a VIP.
    #[inline(always)]
    #[must_use]
    pub const fn mark(address: &Address) -> u64 {
        word(address, protocol::ANY, Port::ANY) | PUBLISHED
    }

    /// Where the search for a VIP begins.
    #[inline(always)]
    #[must_use]
    pub const fn home(address: &Address) -> u32 {
        home(word(address, protocol::ANY, Port::ANY))
    }
}

impl Entry for ListenerEntry {
    type Key = ListenerKey;
    type Value = Listener;

    fn new(key: ListenerKey, listener: Listener) -> Self {
        Self { vip: key.vip, mark: key.mark(), listener: listener.published(), reserved: [0; 11] }
    }

    fn mark(&self) -> u64 {
        self.mark
    }

    fn get(&self) -> Option<(ListenerKey, Listener)> {
        let key = ListenerKey::new(self.vip, self.mark as u8, Port::from_wire((self.mark >> 16) as u16));
        (self.mark & PUBLISHED != 0).then_some((key, self.listener.withdrawn()))
    }

    fn home(key: &ListenerKey) -> u32 {
        key.home()
    }

    const MARK_WORD: usize = offset_of!(Self, mark) / 8;
}

impl Entry for VipEntry {
    type Key = Address;
    type Value = Vip;

    fn new(address: Address, vip: Vip) -> Self {
        Self { address, mark: Vip::mark(&address), vip, reserved: 0 }
    }

    fn mark(&self) -> u64 {
        self.mark
    }

    fn get(&self) -> Option<(Address, Vip)> {
        (self.mark & PUBLISHED != 0).then_some((self.address, self.vip))
    }

    fn home(address: &Address) -> u32 {
        Vip::home(address)
    }

    const MARK_WORD: usize = offset_of!(Self, mark) / 8;
}

#[cfg(test)]
mod tests {
    extern crate std;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;
    use crate::limits::MAX_LISTENERS;
    use crate::protocol::{ANY, TCP, UDP};

    /// How many places a search for each of these keys meets, when they are published one after the other.
    fn probes(keys: impl Iterator<Item = ListenerKey>) -> Vec<u32> {
        let mut taken = BTreeSet::new();
        let probes = keys.map(|key| {
            let probe = (0..).find(|probe| taken.insert(place(key.home(), *probe))).expect("a free place");
            probe + 1
        });
        probes.collect()
    }

    fn v4(number: u32) -> Address {
        Ipv4Addr::from(0xcb00_7100 + number).into()
    }

    #[test]
    fn in_a_full_table_a_listener_is_found_at_once() {
        let v6 = |number: u32| Address::from(Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(number)));
        let prefixes = |number: u32| Address::from(Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(number) << 64 | 1));
        let http = |vip| ListenerKey::new(vip, TCP, Port::from_host(80));
        let all = 0..MAX_LISTENERS;
        let sets: [(&str, Vec<ListenerKey>); 6] = [
            (
                "ports of one VIP",
                all.clone().map(|n| ListenerKey::new(v4(0), TCP, Port::from_host(n as u16))).collect(),
            ),
            ("VIPs in a row", all.clone().map(|n| http(v4(n))).collect()),
            ("VIPs of IPv6 in a row", all.clone().map(|n| http(v6(n))).collect()),
            ("one VIP in each of many networks", all.clone().map(|n| http(prefixes(n))).collect()),
            ("DR-mode listeners", all.clone().map(|n| ListenerKey::new(v4(n), ANY, Port::ANY)).collect()),
            (
                "eight ports of two protocols",
                all.map(|n| {
                    let port = Port::from_host(8_000 + (n % 8) as u16);
                    ListenerKey::new(v4(n / 16), if n % 16 < 8 { TCP } else { UDP }, port)
                })
                .collect(),
            ),
        ];
        for (name, keys) in sets {
            let probes = probes(keys.into_iter());
            let (most, mean) = (probes.iter().max(), f64::from(probes.iter().sum::<u32>()) / f64::from(MAX_LISTENERS));
            assert!(most.is_some_and(|most| *most <= MOST_PROBES), "{name}: {most:?} places");
            assert!(mean < 1.3, "{name}: {mean} places on the average");
        }
    }

    #[test]
    fn an_entry_gives_back_key_and_value() {
        let key = ListenerKey::new(v4(7), TCP, Port::from_host(443));
        let listener = Listener { id: 5, guards: 1, ..Listener::NONE };
        assert_eq!(ListenerEntry::new(key, listener).get(), Some((key, listener)));
        assert_eq!(ListenerEntry { mark: WITHDRAWN, ..ListenerEntry::new(key, listener) }.get(), None);
        assert_eq!(ListenerEntry::zeroed().mark(), FREE);
        let vip = Vip { flags: Vip::WILDCARD_ANY };
        assert_eq!(VipEntry::new(v4(7), vip).get(), Some((v4(7), vip)));
    }
}
