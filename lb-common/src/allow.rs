//! A listener's allow-list: which sources it takes packets from.
//!
//! The answer is yes or no, so prefixes within others mean nothing: what is left of a list is a set of disjoint prefixes,
//! and at most one of them can hold an address. It is found in a *level-compressed trie*
//! (Nilsson and Karlsson, "IP-address lookup using LC-tries", 1999): a node looks at several bits at once, as many as its
//! prefixes fill, and skips those that they all have in common. The skipped bits are compared once, at the end. So with ten
//! thousand prefixes a look-up costs two or three reads, for IPv6 as for IPv4, where one bit or six at a time would cost
//! six to twenty.
//!
//! The trie stands in a region of the map of allow-lists, as 64-bit words:
//!
//! ```text
//! region:  what it was made of (2 words) │ the root's entries (2^bits) │ more nodes' entries, and long prefixes
//! ```
//!
//! The agent builds it, the program looks into it, and the tests run this very code.

use crate::address::Address;

/// Words at the beginning of a region that the program doesn't read: a fingerprint of the list, and one of the words.
pub const HEADER: u32 = 2;
/// Bits that a node looks at, unless fewer are left of their word: at least.
pub const FEWEST_BITS: u32 = 4;
/// Bits that a node looks at, at most.
pub const MOST_BITS: u32 = 16;
/// The most nodes on a way: 128 bits in steps of [`FEWEST_BITS`], and a shorter step at the end of each 64.
pub const DEEPEST: u32 = 128 / FEWEST_BITS + 2;
/// The longest prefix that stands in its entry; a longer one takes words of its own.
pub const LONGEST_SHORT: u8 = 56;

/// An address as two words in host order, its first bit first. IPv4 has its 32 bits at the top of the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits {
    /// The first 64 bits.
    pub high: u64,
    /// The other 64 bits.
    pub low: u64,
}

impl Bits {
    /// The bits of an address.
    #[inline(always)]
    #[must_use]
    pub const fn of(address: &Address) -> Self {
        let [a, b, c, d] = address.0;
        if address.is_v4() {
            Self { high: (u32::from_be(d) as u64) << 32, low: 0 }
        } else {
            Self {
                high: (u32::from_be(a) as u64) << 32 | u32::from_be(b) as u64,
                low: (u32::from_be(c) as u64) << 32 | u32::from_be(d) as u64,
            }
        }
    }

    /// The `count` bits (1 to [`MOST_BITS`]) from bit `from` on, which are in one word.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, from: u32, count: u32) -> u32 {
        let word = if from & 64 == 0 { self.high } else { self.low };
        ((word << (from & 63)) >> ((64 - count) & 63)) as u32
    }
}

/// What stands in a node for some values of its bits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    /// No prefix of the list has these bits.
    pub const NOTHING: Self = Self(0);

    const KIND: u32 = 62;
    const NODE: u64 = 1;
    const SHORT: u64 = 2;
    const LONG: u64 = 3;
    const LENGTH: u32 = 56;

    /// Another node: it looks at `bits` bits from bit `from` on, and its entries begin at word `at` of the region.
    #[must_use]
    pub const fn node(at: u32, from: u32, bits: u32) -> Self {
        Self(Self::NODE << Self::KIND | (bits as u64) << 40 | (from as u64) << 32 | at as u64)
    }

    /// A prefix of up to [`LONGEST_SHORT`] bits.
    #[must_use]
    pub const fn short(prefix: Bits, length: u8) -> Self {
        Self(Self::SHORT << Self::KIND | (length as u64) << Self::LENGTH | prefix.high >> 8)
    }

    /// A longer prefix, whose bits are in two words from word `at` of the region on.
    #[must_use]
    pub const fn long(at: u32, length: u8) -> Self {
        Self(Self::LONG << Self::KIND | (length as u64) << 32 | at as u64)
    }
}

/// The root of a trie, as a listener has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// First word of the region in the map.
    pub base: u32,
    /// The first bit that the root looks at.
    pub from: u8,
    /// How many bits it looks at.
    pub bits: u8,
}

/// Whether a list allows an address. `word` reads the map; a word that isn't there allows nothing.
#[inline(always)]
#[must_use]
pub fn allows(root: Root, address: Bits, word: impl Fn(u32) -> Option<u64>) -> bool {
    let (mut at, mut from, mut bits) = (HEADER, root.from as u32, root.bits as u32);
    for _ in 0..DEEPEST {
        let index = address.at(from, bits);
        let Some(entry) = word(root.base.wrapping_add(at).wrapping_add(index)) else { return false };
        match entry >> Entry::KIND {
            Entry::NODE => {
                at = entry as u32;
                from = (entry >> 32) as u32 & 127;
                bits = (entry >> 40) as u32 & 31;
            }
            Entry::SHORT => {
                let length = (entry >> Entry::LENGTH) as u32 & 63;
                return same(entry << 8, address.high, length);
            }
            Entry::LONG => {
                let (at, length) = (root.base.wrapping_add(entry as u32), (entry >> 32) as u32 & 255);
                let Some(high) = word(at) else { return false };
                if length <= 64 {
                    return same(high, address.high, length);
                }
                let Some(low) = word(at.wrapping_add(1)) else { return false };
                return high == address.high && same(low, address.low, length - 64);
            }
            _ => return false,
        }
    }
    false
}

/// True if the first `length` bits (0 to 64) of two words are the same.
#[inline(always)]
const fn same(one: u64, other: u64, length: u32) -> bool {
    // A shift by 64 would be one by 0.
    let differ = one ^ other;
    length == 0 || differ >> ((64 - length) & 63) == 0
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn bits_are_taken_in_the_order_of_the_wire() {
        let v4 = Bits::of(&Address::from(Ipv4Addr::new(0xc0, 0, 2, 0x0a)));
        assert_eq!(v4, Bits { high: 0xc000_020a_0000_0000, low: 0 });
        assert_eq!((v4.at(0, 2), v4.at(0, 8), v4.at(24, 8), v4.at(28, 4)), (3, 0xc0, 0x0a, 0x0a));
        let v6 = Bits::of(&Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0x8000, 0, 0, 0xf)));
        assert_eq!(v6, Bits { high: 0x2001_0db8_0000_0001, low: 0x8000_0000_0000_000f });
        assert_eq!((v6.at(0, 16), v6.at(63, 1), v6.at(64, 1), v6.at(124, 4)), (0x2001, 1, 1, 0xf));
    }

    #[test]
    fn as_many_bits_are_compared_as_the_prefix_has() {
        assert!(same(u64::MAX, 0, 0));
        assert!(same(u64::MAX, u64::MAX >> 1 | 1 << 63, 64));
        assert!(same(0xff00_0000_0000_0000, 0xff80_0000_0000_0000, 8));
        assert!(!same(0xff00_0000_0000_0000, 0xff80_0000_0000_0000, 9));
        assert!(!same(0, 1, 64) && same(0, 1, 63));
    }

    #[test]
    fn a_trie_that_leads_in_circles_or_out_of_the_map_allows_nothing() {
        let root = Root { base: 0, from: 0, bits: 4 };
        let circle = |_| Some(Entry::node(HEADER, 0, 4).0);
        assert!(!allows(root, Bits { high: 7, low: 7 }, circle));
        assert!(!allows(root, Bits { high: 7, low: 7 }, |_| None));
        assert!(!allows(root, Bits { high: 7, low: 7 }, |at| (at < 18).then_some(Entry::long(100, 128).0)));
    }
}
