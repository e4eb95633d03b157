//! The tables that packets are matched in: listeners by what they listen on, and VIPs by their address.
//!
//! They are hash tables of our own in memory-mapped arrays, as a look-up in the kernel's hash map is most of what a packet
//! costs. An entry is looked for in [`MOST_PROBES`] places, from its [`home`] on (linear probing), and the search ends at the
//! first that was never used. Most look-ups meet one cache line.
//!
//! The agent writes while packets read, so an entry that is published never changes. A changed one is written to another
//! place and published there before the old one is withdrawn, after a moment if a search meets the new place first: a packet
//! meets one of the two. A place that was withdrawn is written again only after [`PAUSE`], when no packet can be reading it any
//! more. An entry is published by its last word, its *mark*, which is stored after all others.
//!
//! ```text
//! entry:  key │ mark │ what the program knows of it
//! mark:   FREE, WITHDRAWN, or what else is in the key, with a bit that says that it is published
//! ```

use core::mem::offset_of;
use core::time::Duration;

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, Port};
use crate::listener::{Listener, ListenerKey, Vip};

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
pub const FREE: u32 = 0;
/// The mark of a place whose entry was withdrawn: a search goes on.
pub const WITHDRAWN: u32 = 1 << 30;
/// Says that an entry is published.
const PUBLISHED: u32 = 1 << 31;

/// Where the search for a key begins: an address, and what else is in the key.
///
/// Two multiplications that do not wait for each other: the high bits of a product depend on all bits of its factors. Keys that
/// follow each other, as an operator's do, meet less often than chance would have it; the two highest pieces of the sum are laid
/// over each other, as a few patterns of VIPs and ports meet in one of them.
#[inline(always)]
#[must_use]
pub const fn home(address: &Address, mark: u32) -> u32 {
    const ONE: u64 = 0x9e37_79b9_7f4a_7c15;
    const OTHER: u64 = 0xd6e8_feb8_6659_fd93;
    let [first, last] = address.halves();
    let sum = (first ^ mark as u64).wrapping_mul(ONE).wrapping_add(last.wrapping_mul(OTHER));
    ((sum ^ (sum << PLACES_BITS)) >> (64 - PLACES_BITS)) as u32
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
    /// Port, protocol, and whether it is published.
    pub mark: u32,
    /// The listener and its pool.
    pub listener: Listener,
    /// Always zero.
    pub reserved: [u32; 12],
}

/// A VIP's entry. 32 bytes, no padding.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct VipEntry {
    /// The VIP.
    pub address: Address,
    /// Whether it is published.
    pub mark: u32,
    /// What the program knows of it.
    pub vip: Vip,
    /// Always zero.
    pub reserved: [u32; 2],
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
    fn mark(&self) -> u32;
    /// Its key and its value; `None` if it is not published.
    fn get(&self) -> Option<(Self::Key, Self::Value)>;
    /// Where the search for a key begins.
    fn home(key: &Self::Key) -> u32;
    /// Which word of the entry, of 4 bytes, is its mark.
    const MARK_WORD: usize;
}

impl ListenerKey {
    /// The mark of a published entry with this key.
    #[inline(always)]
    #[must_use]
    pub const fn mark(&self) -> u32 {
        PUBLISHED | (self.protocol as u32) << 16 | self.port.to_wire() as u32
    }

    /// Where the search for this key begins.
    #[inline(always)]
    #[must_use]
    pub const fn home(&self) -> u32 {
        home(&self.vip, self.mark())
    }
}

impl Vip {
    /// The mark of a published entry.
    pub const MARK: u32 = PUBLISHED;

    /// Where the search for a VIP begins.
    #[inline(always)]
    #[must_use]
    pub const fn home(address: &Address) -> u32 {
        home(address, Self::MARK)
    }
}

impl Entry for ListenerEntry {
    type Key = ListenerKey;
    type Value = Listener;

    fn new(key: ListenerKey, listener: Listener) -> Self {
        Self { vip: key.vip, mark: key.mark(), listener, reserved: [0; 12] }
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn get(&self) -> Option<(ListenerKey, Listener)> {
        let key = ListenerKey::new(self.vip, (self.mark >> 16) as u8, Port::from_wire(self.mark as u16));
        (self.mark & PUBLISHED != 0).then_some((key, self.listener))
    }

    fn home(key: &ListenerKey) -> u32 {
        key.home()
    }

    const MARK_WORD: usize = offset_of!(Self, mark) / 4;
}

impl Entry for VipEntry {
    type Key = Address;
    type Value = Vip;

    fn new(address: Address, vip: Vip) -> Self {
        Self { address, mark: Vip::MARK, vip, reserved: [0; 2] }
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn get(&self) -> Option<(Address, Vip)> {
        (self.mark & PUBLISHED != 0).then_some((self.address, self.vip))
    }

    fn home(address: &Address) -> u32 {
        Vip::home(address)
    }

    const MARK_WORD: usize = offset_of!(Self, mark) / 4;
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
