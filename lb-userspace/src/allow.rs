//! Builds the trie of an allow-list: a pure function from prefixes to words. What they mean, and how an address is looked up in
//! them, is in [`lb_common::allow`].

use lb_common::allow::{Bits, Entry, FEWEST_BITS, HEADER, LONGEST_SHORT, MOST_BITS};

/// A node looks at one bit more as long as it has no more entries for it than this many times its different children.
const ENTRIES_A_CHILD: usize = 4;

/// A prefix: the first `length` bits of an address. The others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixBits {
    /// The address.
    pub bits: Bits,
    /// How many of them count, 0 to 128.
    pub length: u8,
}

/// The trie of an allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trie {
    /// The first bit that the root looks at.
    pub from: u8,
    /// How many bits it looks at.
    pub bits: u8,
    /// The words of its region: [`HEADER`] zeros, and the entries.
    pub words: Vec<u64>,
}

/// The trie of these prefixes, of which there must be one at least, all of one family. Their order means nothing.
#[must_use]
pub fn build(mut prefixes: Vec<PrefixBits>) -> Trie {
    let prefixes = disjoint(&mut prefixes);
    let mut words = vec![0; HEADER as usize];
    let (from, bits) = add_node(&prefixes, &mut words);
    Trie { from: from as u8, bits: bits as u8, words }
}

/// The same addresses by as few prefixes as can be, in order: none holds another.
fn disjoint(prefixes: &mut [PrefixBits]) -> Vec<PrefixBits> {
    // A prefix comes before all that it holds.
    prefixes.sort_unstable();
    let mut kept: Vec<PrefixBits> = Vec::with_capacity(prefixes.len());
    for prefix in prefixes.iter().copied() {
        if kept.last().is_some_and(|last| shared(last.bits, prefix.bits) >= last.length.into()) {
            continue;
        }
        kept.push(prefix);
        // Two halves make a whole.
        while let [.., one, other] = kept[..]
            && one.length == other.length
            && shared(one.bits, other.bits) + 1 == u32::from(one.length)
        {
            kept.truncate(kept.len() - 2);
            kept.push(PrefixBits { bits: one.bits, length: one.length - 1 });
        }
    }
    kept
}

/// How many leading bits two addresses share.
fn shared(one: Bits, other: Bits) -> u32 {
    match (one.high ^ other.high, one.low ^ other.low) {
        (0, low) => 64 + low.leading_zeros(),
        (high, _) => high.leading_zeros(),
    }
}

/// Adds the node of these prefixes at the end, and all below it; tells which bits it looks at.
fn add_node(prefixes: &[PrefixBits], words: &mut Vec<u64>) -> (u32, u32) {
    let (from, bits) = bits_of(prefixes);
    let at = words.len();
    words.resize(at + (1 << bits), Entry::NOTHING.0);
    for group in prefixes.chunk_by(|one, other| one.bits.at(from, bits) == other.bits.at(from, bits)) {
        let [first, ..] = group else { continue };
        let index = first.bits.at(from, bits) as usize;
        let entry = match group {
            [prefix] => add_leaf(prefix, words),
            _ => {
                let below = words.len() as u32;
                let (from, bits) = add_node(group, words);
                Entry::node(below, from, bits)
            }
        };
        // A prefix that ends before the node's bits do has several of its entries.
        let ends = u32::from(first.length).max(from);
        let count = 1 << (from + bits).saturating_sub(ends);
        words[at + index..at + index + count].fill(entry.0);
    }
    (from, bits)
}

fn add_leaf(prefix: &PrefixBits, words: &mut Vec<u64>) -> Entry {
    if prefix.length <= LONGEST_SHORT {
        return Entry::short(prefix.bits, prefix.length);
    }
    let at = words.len() as u32;
    words.push(prefix.bits.high);
    if prefix.length > 64 {
        words.push(prefix.bits.low);
    }
    Entry::long(at, prefix.length)
}

/// The bits that the node of these prefixes looks at: from the first that not all share on, as many as they fill.
fn bits_of(prefixes: &[PrefixBits]) -> (u32, u32) {
    let (Some(first), Some(last)) = (prefixes.first(), prefixes.last()) else { return (0, 1) };
    if prefixes.len() == 1 {
        return (0, 1);
    }
    // They are in order, so that what the first and the last share, all do.
    let from = shared(first.bits, last.bits);
    let most = MOST_BITS.min(64 - from % 64);
    let mut bits = FEWEST_BITS.min(most);
    while bits < most && 1 << (bits + 1) <= ENTRIES_A_CHILD * children(prefixes, from, bits + 1) {
        bits += 1;
    }
    (from, bits)
}

/// How many of a node's entries would lead somewhere of their own.
fn children(prefixes: &[PrefixBits], from: u32, bits: u32) -> usize {
    prefixes.chunk_by(|one, other| one.bits.at(from, bits) == other.bits.at(from, bits)).count()
}

#[cfg(test)]
#[path = "allow_tests.rs"]
mod tests;
