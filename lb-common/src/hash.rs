//! The hash that spreads flows over a lookup table's slots.
//!
//! Each 64-bit word of the input is folded in by xor, a multiplication by an odd constant and a shift; the result goes
//! through David Stafford's "Mix13" finalizer (the one of SplitMix64, Steele, Lea and Flood, OOPSLA 2014), which has
//! full avalanche: each input bit changes each output bit with a probability close to one half. BPF has no 64×64→128
//! multiplication, so hashes built on it (wyhash, xxh3) are not to be had; this one costs one multiplication a word
//! and two at the end. The words of two IPv6 addresses are folded in side by side, as a packet would wait for each
//! multiplication before the next.
//!
//! The hash is keyed: all balancers of a deployment must use one key to agree with each other. It is not a
//! cryptographic one: a client that knows the key can choose ports that meet in one slot, which gains it nothing but
//! the backend of its choice.

use crate::address::Address;
use crate::flow::Flow;

/// The key that balancers use when none is set, so that they agree without being told.
pub const DEFAULT_KEY: u64 = 0x6472_6c62_2d6b_6579;

/// The 64-bit golden ratio, the increment of SplitMix64.
const FOLD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn fold(state: u64, word: u64) -> u64 {
    let mixed = (state ^ word).wrapping_mul(FOLD);
    mixed ^ (mixed >> 32)
}

#[inline(always)]
const fn finish(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

#[inline(always)]
const fn fold_address(state: u64, address: &Address) -> u64 {
    let [a, b, c, d] = address.0;
    fold(fold(state, pair(a, b)), pair(c, d))
}

/// Folds in four words by four multiplications that do not wait for each other. The constants set the lanes apart: the first
/// digits of the square roots of 2, 3 and 5.
#[inline(always)]
const fn lanes(key: u64, [a, b]: [u64; 2], [c, d]: [u64; 2]) -> u64 {
    let one = fold(key, a).wrapping_add(fold(key ^ 0x6a09_e667_f3bc_c908, b));
    let other = fold(key ^ 0xbb67_ae85_84ca_a73b, c).wrapping_add(fold(key ^ 0x3c6e_f372_fe94_f82b, d));
    one ^ other
}

/// Hash of the whole 5-tuple: the algorithm `source-ip-port`.
#[inline(always)]
#[must_use]
pub const fn flow(key: u64, flow: &Flow) -> u64 {
    let ports = pair(flow.source_port.to_wire() as u32, flow.destination_port.to_wire() as u32);
    let state = if flow.destination.is_v4() {
        fold(key, pair(flow.source.0[3], flow.destination.0[3]))
    } else {
        lanes(key, flow.source.halves(), flow.destination.halves())
    };
    finish(fold(state, ports ^ ((flow.protocol as u64) << 48)))
}

/// Hash of the client's address alone: the algorithm `source-ip`. All flows of one client get one hash.
#[inline(always)]
#[must_use]
pub const fn source(key: u64, source: &Address) -> u64 {
    finish(fold_address(key, source))
}

/// Hash of any bytes, for what the agent derives from a backend's address (its order and its way through the table).
#[must_use]
pub fn bytes(key: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(key, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = fold(state, u64::from_le_bytes(word));
    }
    finish(state)
}

/// A hash brought into `0..count` without a division: the high half of the product (Lemire, "Fast Random Integer
/// Generation in an Interval", 2019). Gives 0 when `count` is 0.
#[inline(always)]
#[must_use]
pub const fn reduce(hash: u64, count: u32) -> u32 {
    (((hash >> 32) * count as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;
    use crate::address::Port;
    use crate::protocol;

    fn flow_number(i: u32) -> Flow {
        Flow {
            source: Address::from_v4_word((0x0a00_0000 + i / 1000).to_be()),
            destination: Address::from_v4_word(0xc000_020a_u32.to_be()),
            source_port: Port::from_host(1024 + (i % 1000) as u16),
            destination_port: Port::from_host(80),
            protocol: protocol::TCP,
        }
    }

    fn flow6_number(i: u32) -> Flow {
        let word = |number: u32| number.to_be();
        Flow {
            source: Address([word(0x2001_0db8), 0, word(i / 100_000), word(i / 1000)]),
            destination: Address([word(0x2001_0db8), 0, 0, word(10)]),
            ..flow_number(i)
        }
    }

    /// The flows that differ from one in one bit, each with what was changed. `words` are those of an address that count.
    fn neighbours(base: Flow, words: core::ops::Range<usize>) -> impl Iterator<Item = (&'static str, Flow)> {
        let bits = words.flat_map(|word| (0..32).map(move |bit| (word, 1_u32 << bit)));
        let sources = bits.clone().map(move |(word, bit)| {
            let mut other = base;
            other.source.0[word] ^= bit;
            ("source", other)
        });
        let destinations = bits.map(move |(word, bit)| {
            let mut other = base;
            other.destination.0[word] ^= bit;
            ("destination", other)
        });
        let ports = (0..16).map(move |bit| {
            let source_port = Port::from_wire(base.source_port.to_wire() ^ (1 << bit));
            ("port", Flow { source_port, ..base })
        });
        sources.chain(destinations).chain(ports)
    }

    #[test]
    fn one_changed_bit_of_the_input_changes_half_of_the_output() {
        for (number, words) in [(flow_number as fn(u32) -> Flow, 3..4), (flow6_number, 0..4)] {
            let (mut total, mut pairs) = (0, 0);
            for i in 0..2_000 {
                let base = number(i);
                let hash = flow(DEFAULT_KEY, &base);
                for (what, other) in neighbours(base, words.clone()) {
                    let changed = (hash ^ flow(DEFAULT_KEY, &other)).count_ones();
                    assert!(
                        (8..=56).contains(&changed),
                        "{base:?}, {what} of {other:?}: {changed} output bits changed"
                    );
                    total += changed;
                    pairs += 1;
                }
            }
            let mean = f64::from(total) / f64::from(pairs);
            assert!((31.8..32.2).contains(&mean), "mean of changed bits is {mean}");
        }
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        for number in [flow_number, flow6_number] {
            let buckets = 1009;
            let mut counts = vec![0_u32; buckets as usize];
            let flows = 1_000_000;
            for i in 0..flows {
                counts[reduce(flow(DEFAULT_KEY, &number(i)), buckets) as usize] += 1;
            }
            // Chi-square with 1008 degrees of freedom: mean 1008, deviation about 45; six deviations are allowed.
            let expected = f64::from(flows) / f64::from(buckets);
            let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
            assert!((738.0..1278.0).contains(&chi), "chi-square is {chi}");
        }
    }

    #[test]
    fn words_of_ipv6_addresses_that_change_places_change_the_hash() {
        let mut base = flow6_number(123_456);
        base.destination.0[1] = 1;
        let [a, b] = base.source.halves();
        let [c, d] = base.destination.halves();
        let of = |source, destination| {
            let flow = Flow {
                source: Address(bytemuck::cast(source)),
                destination: Address(bytemuck::cast(destination)),
                ..base
            };
            super::flow(DEFAULT_KEY, &flow)
        };
        let orders: [([u64; 2], [u64; 2]); 5] =
            [([a, b], [c, d]), ([b, a], [c, d]), ([a, b], [d, c]), ([c, d], [a, b]), ([a, d], [c, b])];
        let hashes: std::collections::BTreeSet<u64> = orders.map(|(one, other)| of(one, other)).into();
        assert_eq!(hashes.len(), orders.len());
    }

    #[test]
    fn source_hash_ignores_everything_but_the_source() {
        let (a, b) = (flow_number(1), flow_number(2));
        assert_eq!(a.source, b.source);
        assert_eq!(source(DEFAULT_KEY, &a.source), source(DEFAULT_KEY, &b.source));
        assert_ne!(source(DEFAULT_KEY, &a.source), source(DEFAULT_KEY, &flow_number(5_000).source));
    }

    #[test]
    fn the_key_changes_the_hash() {
        let f = flow_number(7);
        assert_ne!(flow(DEFAULT_KEY, &f), flow(DEFAULT_KEY + 1, &f));
    }

    #[test]
    fn reduce_stays_in_range() {
        assert_eq!(reduce(u64::MAX, 7), 6);
        assert_eq!(reduce(0, 7), 0);
        assert_eq!(reduce(u64::MAX, 0), 0);
    }
}
